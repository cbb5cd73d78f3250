//! The host's memory.

/// What Linux would still give this process: MemAvailable, or what its control group has left. Elsewhere `None`.
pub fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let available = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let read = |file: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse::<u64>().ok()
    };
    let group = read("memory.max").zip(read("memory.current")).map(|(max, now)| max.saturating_sub(now));
    // Not all of it: whoever takes the last page is killed, not told.
    Some(group.map_or(available, |group| group.min(available)) / 10 * 9)
}

/// Whether so many bytes more can be had, as far as is known.
pub fn fits(bytes: u64) -> bool {
    available().is_none_or(|available| bytes <= available)
}
