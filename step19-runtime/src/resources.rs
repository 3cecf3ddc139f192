//! Lesson 18: limits of the configuration, and the files of a control group for them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::resources::Kind::{
    Disks, Limit, Processes, Processors, Quota, Signed, Text, Time, True, UpTo,
};
use crate::rules::Rule;

/// What a container may use.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) devices: Vec<Rule>,
    pub(crate) unified: BTreeMap<String, String>,
    /// Those of `FIELDS`.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

/// What a field is, and how it is written.
pub(crate) enum Kind {
    Text,
    /// Written if it is true.
    True,
    /// A number up to this one.
    UpTo(u64),
    /// Zero lets the kernel's own value stay.
    Time,
    Signed,
    /// -1 for no limit.
    Limit,
    /// As `Limit`, and zero lets the kernel's own value stay.
    Quota,
    /// No process at all makes no sense: zero is for no limit, too.
    Processes,
    /// A share from 2 to 262144, in v2 from 1 to 10000. 1024 becomes 100: each is that
    /// of a new group. Zero is as above.
    Processors,
    /// A share from 10 to 1000, in v2 from 1 to 10000. Zero is as above.
    Disks,
}

const U16: Kind = UpTo(0xffff);
const U32: Kind = UpTo(0xffff_ffff);
const U64: Kind = UpTo(u64::MAX);

/// What names the device of an entry in a list. `rdma` is no list: it has the names.
#[rustfmt::skip]
pub(crate) const KEYS: [(&str, Kind); 4] =
    [("major", U64), ("minor", U64), ("pageSize", Text), ("name", Text)];

/// The fields by their path, in the order in which they are written: the file of each in
/// v1, and in v2. There is none if this version does not have the field, and `-` if there
/// is nothing to do. Then what is written before the value, if there is something. `*` is
/// the name of a device, and `[major:minor]` each entry of a list that it names so.
#[rustfmt::skip]
pub(crate) const FIELDS: [(&str, Kind, &str, &str); 31] = [
    ("/memory/limit", Limit, "memory.limit_in_bytes", "memory.max"),
    ("/memory/reservation", Limit, "memory.soft_limit_in_bytes", "memory.low"),
    ("/memory/swap", Limit, "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("/memory/kernelTCP", Limit, "memory.kmem.tcp.limit_in_bytes", ""),
    ("/memory/swappiness", U64, "memory.swappiness", ""),
    ("/memory/disableOOMKiller", True, "memory.oom_control", ""),
    ("/memory/useHierarchy", True, "memory.use_hierarchy", "-"),
    // It is for a later change. A new group uses nothing yet.
    ("/memory/checkBeforeUpdate", True, "-", "-"),
    ("/pids/limit", Processes, "pids.max", "pids.max"),
    ("/cpu/cpus", Text, "cpuset.cpus", "cpuset.cpus"),
    ("/cpu/mems", Text, "cpuset.mems", "cpuset.mems"),
    ("/cpu/shares", Processors, "cpu.shares", "cpu.weight"),
    ("/cpu/period", Time, "cpu.cfs_period_us", "cpu.max max "),
    ("/cpu/quota", Quota, "cpu.cfs_quota_us", "cpu.max"),
    ("/cpu/burst", U64, "cpu.cfs_burst_us", "cpu.max.burst"),
    ("/cpu/realtimePeriod", U64, "cpu.rt_period_us", ""),
    ("/cpu/realtimeRuntime", Signed, "cpu.rt_runtime_us", ""),
    ("/cpu/idle", Signed, "cpu.idle", "cpu.idle"),
    ("/blockIO/weight", Disks, "blkio.weight", "io.weight"),
    ("/blockIO/leafWeight", U16, "blkio.leaf_weight", ""),
    ("/blockIO/weightDevice[major:minor]/weight", Disks,
        "blkio.weight_device * ", "io.weight * "),
    ("/blockIO/weightDevice[major:minor]/leafWeight", U16,
        "blkio.leaf_weight_device * ", ""),
    ("/blockIO/throttleReadBpsDevice[major:minor]/rate", U64,
        "blkio.throttle.read_bps_device * ", "io.max * rbps="),
    ("/blockIO/throttleWriteBpsDevice[major:minor]/rate", U64,
        "blkio.throttle.write_bps_device * ", "io.max * wbps="),
    ("/blockIO/throttleReadIOPSDevice[major:minor]/rate", U64,
        "blkio.throttle.read_iops_device * ", "io.max * riops="),
    ("/blockIO/throttleWriteIOPSDevice[major:minor]/rate", U64,
        "blkio.throttle.write_iops_device * ", "io.max * wiops="),
    ("/hugepageLimits[pageSize]/limit", U64, "hugetlb.*.limit_in_bytes", "hugetlb.*.max"),
    ("/network/classID", U32, "net_cls.classid", ""),
    ("/network/priorities[name]/priority", U32, "net_prio.ifpriomap * ", ""),
    ("/rdma/*/hcaHandles", U32, "rdma.max * hca_handle=", "rdma.max * hca_handle="),
    ("/rdma/*/hcaObjects", U32, "rdma.max * hca_object=", "rdma.max * hca_object="),
];
