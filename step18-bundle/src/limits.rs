//! Lesson 18: limits of the configuration become values for files of a group.

use anyhow::{Result, ensure};

use crate::resources::{Limit, Rate, Resources};

/// What stands for no limit.
fn or_max(number: i64) -> String {
    if number < 0 { "max".into() } else { number.to_string() }
}

/// Scales a number to the range from 1 to 10000.
fn scaled(number: u64, from: u64, to: u64) -> String {
    let number = number.clamp(from, to);
    (1 + (number - from) * 9999 / (to - from)).to_string()
}

impl Resources {
    /// The values, in the order in which they are written.
    pub(crate) fn limits(&self, is_v2: bool) -> Result<Vec<Limit>> {
        let mut limits = Limits { is_v2, list: Vec::new() };
        self.memory_and_pids(&mut limits)?;
        self.processors(&mut limits)?;
        self.disks(&mut limits)?;
        for pages in &self.hugepage_limits {
            let file = |suffix| format!("hugetlb.{}.{suffix}", pages.page_size);
            let files = [Some(file("limit_in_bytes")), Some(file("max"))];
            limits.add("hugetlb", files, Some(pages.limit))?;
        }
        let network = &self.network;
        limits.add("net_cls", v1("net_cls.classid"), network.class_id)?;
        for it in &network.priorities {
            let value = format!("{} {}", it.name, it.priority);
            limits.add("net_prio", v1("net_prio.ifpriomap"), Some(value))?;
        }
        for (device, rdma) in &self.rdma {
            let most = |name, number: Option<u32>| number.map(|it| format!(" {name}={it}"));
            let words =
                [most("hca_handle", rdma.hca_handles), most("hca_object", rdma.hca_objects)];
            let value = words.into_iter().flatten().fold(device.clone(), |all, it| all + &it);
            limits.add("rdma", both("rdma.max", "rdma.max"), Some(value))?;
        }
        for (file, value) in &self.unified {
            ensure!(is_v2, "linux.resources.unified needs control groups v2 alone; leave it out");
            ensure!(
                !file.contains('/'),
                "linux.resources.unified: {file} is not a file of a group"
            );
            limits.list.push(Limit {
                controller: "unified",
                file: file.clone(),
                value: value.clone(),
            });
        }
        Ok(limits.list)
    }

    fn memory_and_pids(&self, limits: &mut Limits) -> Result<()> {
        let memory = &self.memory;
        // The limit on swap of v1 is that on memory and swap together.
        let swap = match (memory.swap, memory.limit) {
            (Some(swap), Some(limit)) if limits.is_v2 && swap >= 0 => {
                ensure!(
                    swap >= limit,
                    "memory.swap is below memory.limit; it counts both, so raise it"
                );
                Some(swap - limit)
            }
            (Some(swap), None) if limits.is_v2 && swap >= 0 => {
                anyhow::bail!("memory.swap needs memory.limit; give both")
            }
            (swap, _) => swap,
        };
        let number = |number: Option<i64>| number.map(|it| limits.number(it));
        let (limit, low, swap) = (number(memory.limit), number(memory.reservation), number(swap));
        let (tcp, pids) = (number(memory.kernel_tcp), self.pids.limit);
        // No process at all makes no sense.
        let pids = pids.map(|it| or_max(if it == 0 { -1 } else { it }));
        let oom = memory.disable_oom_killer.then_some(1);
        let tree = memory.use_hierarchy.then_some(1).filter(|_| !limits.is_v2);
        let files = [
            (both("memory.limit_in_bytes", "memory.max"), limit),
            (both("memory.soft_limit_in_bytes", "memory.low"), low),
            (both("memory.memsw.limit_in_bytes", "memory.swap.max"), swap),
            (v1("memory.kmem.tcp.limit_in_bytes"), tcp),
            (v1("memory.swappiness"), memory.swappiness.map(|it| it.to_string())),
            (v1("memory.oom_control"), oom.map(|it: i32| it.to_string())),
            (v1("memory.use_hierarchy"), tree.map(|it: i32| it.to_string())),
        ];
        for (files, value) in files {
            limits.add("memory", files, value)?;
        }
        limits.add("pids", both("pids.max", "pids.max"), pids)
    }

    fn processors(&self, limits: &mut Limits) -> Result<()> {
        let cpu = &self.cpu;
        let text = |text: &str| Some(text.to_owned()).filter(|it| !it.is_empty());
        limits.add("cpuset", both("cpuset.cpus", "cpuset.cpus"), text(&cpu.cpus))?;
        limits.add("cpuset", both("cpuset.mems", "cpuset.mems"), text(&cpu.mems))?;
        // Zero means that the kernel's own value stays.
        let shares = cpu.shares.filter(|it| *it > 0);
        let (quota, period) = (cpu.quota.filter(|it| *it != 0), cpu.period.filter(|it| *it > 0));
        if limits.is_v2 {
            limits.add("cpu", v2("cpu.weight"), shares.map(|it| scaled(it, 2, 262_144)))?;
            let most = or_max(quota.unwrap_or(-1));
            let max = (quota.is_some() || period.is_some())
                .then(|| format!("{most} {}", period.unwrap_or(100_000)));
            limits.add("cpu", v2("cpu.max"), max)?;
        } else {
            limits.add("cpu", v1("cpu.shares"), shares)?;
            limits.add("cpu", v1("cpu.cfs_period_us"), period)?;
            limits.add("cpu", v1("cpu.cfs_quota_us"), quota)?;
        }
        limits.add("cpu", both("cpu.cfs_burst_us", "cpu.max.burst"), cpu.burst)?;
        limits.add("cpu", v1("cpu.rt_period_us"), cpu.realtime_period)?;
        limits.add("cpu", v1("cpu.rt_runtime_us"), cpu.realtime_runtime)?;
        limits.add("cpu", both("cpu.idle", "cpu.idle"), cpu.idle)
    }

    fn disks(&self, limits: &mut Limits) -> Result<()> {
        let io = &self.block_io;
        let is_v2 = limits.is_v2;
        let weight = |it: u16| if is_v2 { scaled(it.into(), 10, 1000) } else { it.to_string() };
        let files = both("blkio.weight", "io.weight");
        limits.add("blkio", files, io.weight.filter(|it| *it > 0).map(weight))?;
        limits.add("blkio", v1("blkio.leaf_weight"), io.leaf_weight)?;
        for it in &io.weight_device {
            let of = |weight: Option<String>| {
                weight.map(|weight| format!("{}:{} {weight}", it.major, it.minor))
            };
            let files = both("blkio.weight_device", "io.weight");
            limits.add("blkio", files, of(it.weight.map(weight)))?;
            let leaf = of(it.leaf_weight.map(|it| it.to_string()));
            limits.add("blkio", v1("blkio.leaf_weight_device"), leaf)?;
        }
        for (list, file, word) in [
            (&io.throttle_read_bps_device, "blkio.throttle.read_bps_device", "rbps="),
            (&io.throttle_write_bps_device, "blkio.throttle.write_bps_device", "wbps="),
            (&io.throttle_read_iops_device, "blkio.throttle.read_iops_device", "riops="),
            (&io.throttle_write_iops_device, "blkio.throttle.write_iops_device", "wiops="),
        ] {
            for Rate { major, minor, rate } in list {
                let word = if is_v2 { word } else { "" };
                let value = format!("{major}:{minor} {word}{rate}");
                limits.add("blkio", both(file, "io.max"), Some(value))?;
            }
        }
        Ok(())
    }
}

/// The files for a value, in v1 and in v2.
type Files = [Option<String>; 2];

fn both(v1: &str, v2: &str) -> Files {
    [Some(v1.to_owned()), Some(v2.to_owned())]
}

fn v1(file: &str) -> Files {
    [Some(file.to_owned()), None]
}

fn v2(file: &str) -> Files {
    [None, Some(file.to_owned())]
}

/// The values so far.
struct Limits {
    is_v2: bool,
    list: Vec<Limit>,
}

impl Limits {
    fn number(&self, number: i64) -> String {
        if self.is_v2 { or_max(number) } else { number.to_string() }
    }

    /// Adds a value, if there is one. Without a file for it, that is an error.
    fn add(
        &mut self,
        controller: &'static str,
        [v1, v2]: Files,
        value: Option<impl ToString>,
    ) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let other = v1.clone().or(v2.clone()).unwrap_or_default();
        let Some(file) = (if self.is_v2 { v2 } else { v1 }) else {
            anyhow::bail!(
                "set {other}: this version of control groups does not have it; leave it out"
            )
        };
        self.list.push(Limit { controller, file, value: value.to_string() });
        Ok(())
    }
}
