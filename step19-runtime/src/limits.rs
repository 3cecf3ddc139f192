//! Lesson 18: limits of the configuration become values for files of a group.

use anyhow::{Result, bail, ensure};

use crate::resources::{Limit, Resources};

/// What stands for no limit.
pub(crate) fn or_max(number: i64) -> String {
    if number < 0 { "max".into() } else { number.to_string() }
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
                bail!("memory.swap needs memory.limit; give both")
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
}

/// The files for a value, in v1 and in v2.
pub(crate) type Files = [Option<String>; 2];

pub(crate) fn both(v1: &str, v2: &str) -> Files {
    [Some(v1.to_owned()), Some(v2.to_owned())]
}

pub(crate) fn v1(file: &str) -> Files {
    [Some(file.to_owned()), None]
}

pub(crate) fn v2(file: &str) -> Files {
    [None, Some(file.to_owned())]
}

/// The values so far.
pub(crate) struct Limits {
    pub(crate) is_v2: bool,
    list: Vec<Limit>,
}

impl Limits {
    fn number(&self, number: i64) -> String {
        if self.is_v2 { or_max(number) } else { number.to_string() }
    }

    /// Adds a value, if there is one. Without a file for it, that is an error.
    pub(crate) fn add(
        &mut self,
        controller: &'static str,
        [v1, v2]: Files,
        value: Option<impl ToString>,
    ) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let other = v1.clone().or(v2.clone()).unwrap_or_default();
        let Some(file) = (if self.is_v2 { v2 } else { v1 }) else {
            bail!("set {other}: this version of control groups does not have it; leave it out")
        };
        self.list.push(Limit { controller, file, value: value.to_string() });
        Ok(())
    }
}
