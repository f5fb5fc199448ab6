//! How much memory the process uses, and how much it may (SECURITY §4).

use std::fs;
use std::path::Path;

use verona_core::limits::Limits;

/// The share of what there is that the process may use, in percent: the rest is the system's, above
/// all for the files of the store.
const SHARE: u64 = 70;

/// Bytes in use; none where the system does not tell.
pub fn used() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes that the process may use: what the operator says, else a share of what there is.
pub fn budget(limits: &Limits) -> Option<u64> {
    match limits.memory_bytes_max {
        0 => Some(given()? / 100 * SHARE),
        bytes => Some(bytes),
    }
}

/// Bytes of the machine, or of the group of processes that this one was put into.
fn given() -> Option<u64> {
    let machine = kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(group).filter_map(|(root, path)| {
        let own = Path::new(root).join(path.trim_start_matches('/'));
        // A group has no more than those that it is in.
        let each = own.ancestors().take_while(|group| group.starts_with(root));
        each.filter_map(limit).min()
    });
    limits.min().map(|limit| limit.min(machine)).or(Some(machine))
}

/// Where the group in a line of `/proc/self/cgroup` is found, if it is one that can limit memory.
fn group(line: &str) -> Option<(&'static str, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match controllers {
        "" => Some(("/sys/fs/cgroup", path)),
        "memory" => Some(("/sys/fs/cgroup/memory", path)),
        _ => None,
    }
}

fn limit(group: &Path) -> Option<u64> {
    let read = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
    read("memory.max").or_else(|| read("memory.limit_in_bytes"))
}

/// The bytes of a line such as `VmRSS:     1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_memory() {
        let (used, given) = (used().expect("told"), given().expect("told"));
        assert!(used > 100_000 && used < given, "{used} of {given}");
        let own = |memory_bytes_max| Limits { memory_bytes_max, ..Limits::default() };
        assert_eq!(budget(&own(7)), Some(7));
        assert_eq!(budget(&own(0)), Some(given / 100 * 70));
    }

    #[test]
    fn lines_of_the_system_are_understood() {
        assert_eq!(kib("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(kib("VmRSS:\t12\n", "VmRSS:"), None);
        assert_eq!(
            group("0::/system.slice/verona.service").map(|found| found.0),
            Some("/sys/fs/cgroup")
        );
        assert_eq!(group("4:memory:/docker/1"), Some(("/sys/fs/cgroup/memory", "/docker/1")));
        assert_eq!(group("3:cpu,cpuacct:/"), None);
    }
}
