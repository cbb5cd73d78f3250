/* A Vulkan layer in which a kind of call fails from its nth on (or its nth), for tests of lost devices and of memory that runs out.
 *
 *   FAULT_CALL    submit, wait, alloc, map or pipeline
 *   FAULT_AFTER   how many of these calls succeed first
 *   FAULT_RESULT  the VkResult of the others: -4 device lost, -2 and -1 no device and no host memory, -5 map failed
 *   FAULT_ONCE    if set, that call alone fails */
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

static PFN_vkGetInstanceProcAddr next_of_instance;
static PFN_vkGetDeviceProcAddr next_of_device;
static VkInstance instance;
static VkDevice device;

static VkResult fault(const char *call) {
    static int calls;
    const char *failing = getenv("FAULT_CALL"), *after = getenv("FAULT_AFTER"), *result = getenv("FAULT_RESULT");
    if (!failing || !after || !result || strcmp(failing, call)) return VK_SUCCESS;
    int made = __sync_fetch_and_add(&calls, 1) - atoi(after);
    int fails = getenv("FAULT_ONCE") ? made == 0 : made >= 0;
    return fails ? (VkResult)atoi(result) : VK_SUCCESS;
}

#define FAILING(call, name, parameters, ...)                                                       \
    static VKAPI_ATTR VkResult VKAPI_CALL failing_##name parameters {                               \
        VkResult result = fault(call);                                                              \
        return result ? result : ((PFN_##name)next_of_device(device, #name))(__VA_ARGS__);          \
    }

FAILING("submit", vkQueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *s, VkFence f), q, n, s, f)
FAILING("wait", vkWaitSemaphores, (VkDevice d, const VkSemaphoreWaitInfo *i, uint64_t t), d, i, t)
FAILING("wait", vkWaitSemaphoresKHR, (VkDevice d, const VkSemaphoreWaitInfo *i, uint64_t t), d, i, t)
FAILING("alloc", vkAllocateMemory,
        (VkDevice d, const VkMemoryAllocateInfo *i, const VkAllocationCallbacks *c, VkDeviceMemory *m), d, i, c, m)
FAILING("map", vkMapMemory,
        (VkDevice d, VkDeviceMemory m, VkDeviceSize o, VkDeviceSize s, VkMemoryMapFlags f, void **p), d, m, o, s, f, p)
FAILING("pipeline", vkCreateComputePipelines,
        (VkDevice d, VkPipelineCache k, uint32_t n, const VkComputePipelineCreateInfo *i,
         const VkAllocationCallbacks *c, VkPipeline *p), d, k, n, i, c, p)

/* The link of the chain that names the next layer's functions, which it is moved past. */
#define LINK(create_info, kind, type)                                                              \
    kind *link = (kind *)(create_info)->pNext;                                                     \
    while (link && !(link->sType == (type) && link->function == VK_LAYER_LINK_INFO))               \
        link = (kind *)link->pNext;                                                                \
    if (!link) return VK_ERROR_INITIALIZATION_FAILED

static VKAPI_ATTR VkResult VKAPI_CALL own_vkCreateInstance(const VkInstanceCreateInfo *info,
                                                           const VkAllocationCallbacks *c, VkInstance *out) {
    LINK(info, VkLayerInstanceCreateInfo, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    next_of_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult result = ((PFN_vkCreateInstance)next_of_instance(NULL, "vkCreateInstance"))(info, c, out);
    if (!result) instance = *out;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL own_vkCreateDevice(VkPhysicalDevice p, const VkDeviceCreateInfo *info,
                                                         const VkAllocationCallbacks *c, VkDevice *out) {
    LINK(info, VkLayerDeviceCreateInfo, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    next_of_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult result = ((PFN_vkCreateDevice)next(instance, "vkCreateDevice"))(p, info, c, out);
    if (!result) device = *out;
    return result;
}

#define IS(name, function) if (!strcmp(asked, #name)) return (PFN_vkVoidFunction)function

static PFN_vkVoidFunction failing(const char *asked) {
    IS(vkQueueSubmit, failing_vkQueueSubmit);
    IS(vkWaitSemaphores, failing_vkWaitSemaphores);
    IS(vkWaitSemaphoresKHR, failing_vkWaitSemaphoresKHR);
    IS(vkAllocateMemory, failing_vkAllocateMemory);
    IS(vkMapMemory, failing_vkMapMemory);
    IS(vkCreateComputePipelines, failing_vkCreateComputePipelines);
    return NULL;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL layer_GetDeviceProcAddr(VkDevice d, const char *asked) {
    IS(vkGetDeviceProcAddr, layer_GetDeviceProcAddr);
    PFN_vkVoidFunction own = failing(asked);
    return own ? own : next_of_device ? next_of_device(d, asked) : NULL;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL layer_GetInstanceProcAddr(VkInstance i, const char *asked) {
    IS(vkCreateInstance, own_vkCreateInstance);
    IS(vkCreateDevice, own_vkCreateDevice);
    IS(vkGetInstanceProcAddr, layer_GetInstanceProcAddr);
    IS(vkGetDeviceProcAddr, layer_GetDeviceProcAddr);
    PFN_vkVoidFunction own = failing(asked);
    return own ? own : next_of_instance ? next_of_instance(i, asked) : NULL;
}
