//! Lesson 18: shares of processors and of disks become values for files of a group.

use anyhow::Result;

use crate::limits::{Limits, both, or_max, v1, v2};
use crate::resources::{Rate, Resources};

/// Scales a number to the range from 1 to 10000.
fn scaled(number: u64, from: u64, to: u64) -> String {
    let number = number.clamp(from, to);
    (1 + (number - from) * 9999 / (to - from)).to_string()
}

impl Resources {
    pub(crate) fn processors(&self, limits: &mut Limits) -> Result<()> {
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

    pub(crate) fn disks(&self, limits: &mut Limits) -> Result<()> {
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
