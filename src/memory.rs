//! The host's memory.

/// Bytes available to this process on Linux: 90 % of MemAvailable, or of the control group's remainder if
/// that is less. `None` on other systems.
pub fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let available = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let read = |file: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse::<u64>().ok()
    };
    let group = read("memory.max").zip(read("memory.current")).map(|(max, now)| max.saturating_sub(now));
    // Leave a tenth: a process that takes the last page is killed without warning.
    Some(group.map_or(available, |group| group.min(available)) / 10 * 9)
}

/// Whether `bytes` more bytes are available; `true` if unknown.
pub fn fits(bytes: u64) -> bool {
    available().is_none_or(|available| bytes <= available)
}
