//! Configurations that make no sense: each is read, or refused in one line, before there is
//! a container.

use std::env;

use serde_json::{Value, json};

use crate::device_program::program;
use crate::filter;

use super::*;

/// A container for root.
const FOR_ROOT: &str = include_str!("../../spec.json");

/// A configuration with a value in each field.
fn full(root: &Path) -> Value {
    let mut all: Value = serde_json::from_str(FOR_ROOT).expect("JSON");
    let numbers = |name: &str| json!([{ "major": 8, "minor": 0, name: 1000 }]);
    for (pointer, value) in [
        ("/root/path", json!(root)),
        ("/domainname", json!("name")),
        ("/annotations", json!({ "a.b": "c" })),
        ("/hooks", json!({ "prestart": [], "poststop": [] })),
        ("/process/consoleSize", json!({ "height": 25, "width": 80 })),
        (
            "/process/user",
            json!({ "uid": 1, "gid": 2, "umask": 18, "additionalGids": [3] }),
        ),
        ("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 10 }])),
        ("/process/apparmorProfile", json!("none")),
        ("/process/oomScoreAdj", json!(100)),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_BATCH", "nice": 5, "priority": 0,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 0, "deadline": 0, "period": 0 }),
        ),
        ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 })),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "uts" }, { "type": "ipc" },
                { "type": "network", "path": "/proc/self/ns/net" }, { "type": "pid" },
                { "type": "cgroup" }, { "type": "time" }]),
        ),
        ("/linux/timeOffsets", json!({ "monotonic": { "secs": 5, "nanosecs": 6 } })),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229,
                "fileMode": 438, "uid": 0, "gid": 0 }]),
        ),
        ("/linux/cgroupsPath", json!("/a/b")),
        ("/linux/rootfsPropagation", json!("rslave")),
        ("/linux/personality", json!({ "domain": "LINUX" })),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" })),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "syscalls": [
                    { "names": ["read", "socket", "no_such"], "action": "SCMP_ACT_ALLOW" },
                    { "names": ["clone", "personality"], "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1, "args": [{ "index": 0, "value": 2_114_060_288,
                        "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] }
                ] }),
        ),
        (
            "/linux/resources",
            json!({
                "devices": [{ "allow": true, "type": "c", "major": 1, "minor": -1, "access": "rwm" }],
                "memory": { "limit": 1000, "reservation": 500, "swap": 2000, "kernelTCP": 1,
                    "swappiness": 60, "disableOOMKiller": false, "useHierarchy": false,
                    "checkBeforeUpdate": true },
                "cpu": { "shares": 512, "quota": 1000, "burst": 10, "period": 2000,
                    "realtimeRuntime": 1, "realtimePeriod": 2, "cpus": "0", "mems": "0",
                    "idle": 0 },
                "pids": { "limit": 10 },
                "blockIO": { "weight": 500, "leafWeight": 500,
                    "weightDevice": numbers("weight"),
                    "throttleReadBpsDevice": numbers("rate"),
                    "throttleWriteIOPSDevice": numbers("rate") },
                "hugepageLimits": [{ "pageSize": "2MB", "limit": 1000 }],
                "network": { "classID": 1, "priorities": [{ "name": "lo", "priority": 1 }] },
                "rdma": { "mlx5_1": { "hcaHandles": 1, "hcaObjects": 2 } },
                "unified": { "memory.high": "1000" }
            }),
        ),
    ] {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        all.pointer_mut(parent).expect("a parent")[name] = value;
    }
    let mount = json!({ "destination": "/mnt", "type": "bind", "source": "/usr",
        "options": ["rbind", "ro", "rprivate", "noatime"] });
    all["mounts"].as_array_mut().expect("mounts").push(mount);
    all
}

/// The same with a user namespace, which cannot have a time namespace.
fn with_user(mut all: Value) -> Value {
    crate::spec::for_user(&mut all);
    let is_time = |it: &Value| it["type"] == "time";
    all["linux"]["namespaces"].as_array_mut().expect("a list").retain(|it| !is_time(it));
    all["linux"]["timeOffsets"] = json!({});
    all
}

/// A row of numbers that is the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % most
    }
}

/// Values that a mutation puts in the place of others.
fn wrong(chance: &mut Chance) -> Value {
    let deep = || (0..200).fold(json!(1), |deep, _| json!([deep]));
    match chance.below(24) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(i64::MIN),
        3 => json!(i64::MAX),
        4 => json!(u64::MAX),
        5 => json!(1.5),
        6 => json!(1_u64 << 32),
        7 => json!([]),
        8 => json!({}),
        9 => json!({ "a": {} }),
        10 => json!([[]]),
        11 => json!(true),
        12 => json!(""),
        13 => json!("/"),
        14 => json!(".."),
        15 => json!("/../../proc/self/fd/3"),
        16 => json!("a\u{0}b\n\u{1b}[2J\u{202e}"),
        17 => json!("x".repeat(5000)),
        18 => json!("#{}%{major}*"),
        19 => json!("rw=,idmap"),
        20 => deep(),
        21 => json!([1, "a", {}, null]),
        22 => json!("18446744073709551616"),
        _ => json!(chance.below(300)),
    }
}

/// Changes a value that chance names, in what `value` has.
fn mutate(value: &mut Value, other: &Value, chance: &mut Chance) {
    let count = value.as_array().map_or(0, Vec::len);
    let names: Vec<String> =
        value.as_object().into_iter().flatten().map(|it| it.0.clone()).collect();
    let goes_on = chance.below(6) > 0;
    match value {
        Value::Array(list) if count > 0 && goes_on => {
            mutate(&mut list[chance.below(count)], other, chance);
        }
        Value::Object(map) if !names.is_empty() && goes_on => {
            let name = &names[chance.below(names.len())];
            match chance.below(20) {
                0 => drop(map.remove(name)),
                1 => drop(map.insert(format!("{name}x"), json!(1))),
                2 => drop(map.insert(String::new(), wrong(chance))),
                3 => drop(map.insert(name.to_uppercase(), map[name].clone())),
                _ => mutate(&mut map[name], other, chance),
            }
        }
        Value::Array(list) if chance.below(2) == 0 => {
            let entry = list.first().cloned().unwrap_or_else(|| other.clone());
            list.resize(chance.below(600), entry);
        }
        _ if chance.below(8) == 0 => *value = other.clone(),
        Value::Bool(is) if chance.below(2) == 0 => *is = !*is,
        _ if chance.below(2) == 0 => {
            // Of the same type, perhaps.
            let same = std::mem::discriminant(value);
            let mut found = (0..20).map(|_| wrong(chance));
            let found = found.find(|it| std::mem::discriminant(it) == same);
            *value = found.unwrap_or(Value::Null);
        }
        _ => *value = wrong(chance),
    }
}

/// A part of a configuration.
fn part(value: &Value, chance: &mut Chance) -> Value {
    let parts: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(list) => list.iter().collect(),
        _ => Vec::new(),
    };
    if parts.is_empty() || chance.below(4) == 0 {
        return value.clone();
    }
    part(parts[chance.below(parts.len())], chance)
}

/// A text with changes in its values, and perhaps in its bytes.
fn mutated(full: &Value, chance: &mut Chance) -> Vec<u8> {
    let mut value = full.clone();
    for _ in 0..=chance.below(3) {
        let other = part(full, chance);
        mutate(&mut value, &other, chance);
    }
    let mut text = value.to_string().into_bytes();
    if chance.below(4) == 0 {
        for _ in 0..=chance.below(3) {
            let at = chance.below(text.len().max(1));
            let more = chance.below(40).min(text.len() - at);
            match chance.below(4) {
                0 if more > 0 => text[at] = chance.below(256) as u8,
                1 => drop(text.drain(at..at + more)),
                2 => {
                    let twice = text[at..at + more].to_vec();
                    drop(text.splice(at..at, twice));
                }
                _ => drop(text.splice(at..at, *br#""root":{},"a":[[[["#)),
            }
        }
    }
    text
}

/// What the runner does before there is a container.
fn prepare(bundle: &Path) -> Result<()> {
    let config = Config::read(bundle)?;
    let linux = &config.linux;
    let filter = linux.seccomp.as_ref().map(filter::compile).transpose().map(drop);
    let plans =
        config.mounts.iter().try_for_each(|it| it.plan(&config, bundle).map(drop));
    program(&linux.resources.devices);
    // No host has all files.
    let limits = [false, true].map(|is_v2| linux.resources.limits(is_v2));
    let has_field = |it: &Result<_>| {
        it.as_ref().err().is_some_and(|it| it.to_string().contains("field"))
    };
    match limits.into_iter().find(has_field) {
        Some(Err(error)) => Err(error),
        _ => filter.and(plans),
    }
}

/// The files and values of both versions; another host may have the other one.
#[test]
fn each_limit_has_its_file() {
    let mut resources = full(Path::new("/"))["linux"]["resources"].clone();
    resources["unified"] = json!({});
    let limits = |resources: &Value, is_v2| {
        let read: crate::resources::Resources =
            serde_json::from_value(resources.clone()).expect("resources");
        let limits = read.limits(is_v2).expect("limits").into_iter();
        limits
            .map(|(file, value)| format!("{file} {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let v1 = limits(&resources, false);
    let only_v1 = [
        ("memory", "kernelTCP"),
        ("memory", "swappiness"),
        ("cpu", "realtimeRuntime"),
        ("cpu", "realtimePeriod"),
        ("blockIO", "leafWeight"),
        ("network", "classID"),
        ("network", "priorities"),
    ];
    for (above, name) in only_v1 {
        resources[above].as_object_mut().expect("an object").remove(name);
    }
    let v2 = limits(&resources, true);
    assert_eq!(
        v1,
        "memory.limit_in_bytes 1000, memory.soft_limit_in_bytes 500, \
            memory.memsw.limit_in_bytes 2000, memory.kmem.tcp.limit_in_bytes 1, \
            memory.swappiness 60, pids.max 10, cpuset.cpus 0, cpuset.mems 0, \
            cpu.shares 512, cpu.cfs_period_us 2000, cpu.cfs_quota_us 1000, \
            cpu.cfs_burst_us 10, cpu.rt_period_us 2, cpu.rt_runtime_us 1, cpu.idle 0, \
            blkio.weight 500, blkio.leaf_weight 500, blkio.weight_device 8:0 1000, \
            blkio.throttle.read_bps_device 8:0 1000, \
            blkio.throttle.write_iops_device 8:0 1000, hugetlb.2MB.limit_in_bytes 1000, \
            net_cls.classid 1, net_prio.ifpriomap lo 1, rdma.max mlx5_1 hca_handle=1, \
            rdma.max mlx5_1 hca_object=2"
    );
    assert_eq!(
        v2,
        "memory.max 1000, memory.low 500, memory.swap.max 1000, pids.max 10, \
            cpuset.cpus 0, cpuset.mems 0, cpu.weight 59, cpu.max max 2000, \
            cpu.max 1000, cpu.max.burst 10, cpu.idle 0, io.weight 4950, \
            io.weight 8:0 10000, io.max 8:0 rbps=1000, io.max 8:0 wiops=1000, \
            hugetlb.2MB.max 1000, rdma.max mlx5_1 hca_handle=1, \
            rdma.max mlx5_1 hca_object=2"
    );
}

/// The numbers that runc has since 1.3.2, and crun since 1.23.
#[test]
fn a_share_of_the_processors_becomes_a_weight() {
    let weight = |shares: u64| {
        let read: crate::resources::Resources =
            serde_json::from_value(json!({ "cpu": { "shares": shares } }))
                .expect("resources");
        read.limits(true).expect("limits").pop().map(|(_, value)| value)
    };
    assert_eq!(weight(0), None);
    let known = [
        (1, 1),
        (2, 1),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262_144, 10_000),
    ];
    for (shares, expected) in known.into_iter().chain([(u64::MAX, 10_000)]) {
        assert_eq!(weight(shares), Some(expected.to_string()), "{shares}");
    }
}

/// Otherwise, only the last one would count.
#[test]
fn a_name_that_comes_twice_is_an_error() {
    let text = full(Path::new("/")).to_string();
    assert!(parse::<Config>(text.as_bytes()).is_ok());
    for (field, name) in [
        (r#""pids":{"limit":10}"#, "pids"),
        (r#""limit":1000"#, "limit"),
        (r#""memory.high":"1000""#, "memory.high"),
        (r#""a.b":"c""#, "a.b"),
        (r#""net.ipv4.ip_forward":"1""#, "net.ipv4.ip_forward"),
        (r#""umask":18"#, "umask"),
    ] {
        let twice = text.replacen(field, &format!("{field},{field}"), 1);
        assert_ne!(twice, text, "{field}");
        let refused = parse::<Config>(twice.as_bytes()).map(drop);
        let said = refused.expect_err("twice").to_string();
        let words = format!("duplicate field `{name}` at line 1 column ");
        assert!(said.starts_with(&words), "{said}");
    }
}

/// As for programs in Go. Other errors still have their line.
#[test]
fn a_field_that_is_null_is_missing() {
    let mut all = full(Path::new("/"));
    for pointer in
        ["/process/user", "/linux/resources/cpu", "/mounts/0/options", "/hooks"]
    {
        *all.pointer_mut(pointer).expect("a field") = Value::Null;
    }
    assert!(parse::<Config>(all.to_string().as_bytes()).is_ok());
    let refused = parse::<Config>(b"{\n\"hostname\": 1,\n\"root\": null }").map(drop);
    let said = refused.expect_err("a number").to_string();
    assert!(said.ends_with("expected a string at line 2 column 13"), "{said}");
    let refused =
        parse::<Config>(br#"{ "hooks": null, "linux": { "mountLabel": "x" } }"#);
    let said = refused.map(drop).expect_err("a label").to_string();
    assert_eq!(said, "the field mountLabel is not done here: leave it out");
    let refused = parse::<Config>(br#"{ "mounts": [null] }"#).map(drop);
    assert!(refused.is_err());
}

/// `CONFIG_CASES` sets the number of configurations.
#[test]
fn no_mutated_configuration_does_harm() {
    let cases = env::var("CONFIG_CASES").map_or(500, |it| it.parse().expect("a number"));
    let bundle = testkit::tempdir();
    let full = full(bundle.path());
    let both = [full.clone(), with_user(full)];
    let (mut read, mut reasons) = (0, std::collections::BTreeSet::new());
    for case in 0..cases {
        let full = &both[(case % 2) as usize];
        let text = match case {
            0 | 1 => full.to_string().into_bytes(),
            _ => mutated(full, &mut Chance(case)),
        };
        std::fs::write(bundle.path().join("config.json"), &text).expect("write");
        let Err(error) = prepare(bundle.path()) else {
            read += 1;
            continue;
        };
        assert!(case > 1, "{error:#}");
        let line = common::printable(&common::one_line(&error));
        assert!(!line.contains(char::is_control), "case {case}: {line}");
        reasons
            .insert(error.root_cause().to_string().chars().take(16).collect::<String>());
    }
    assert!(read > cases / 20 && reasons.len() > 20, "{read} are read, {reasons:?}");
}
