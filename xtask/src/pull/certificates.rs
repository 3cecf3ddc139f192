//! The authorities that sign the certificates of a registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::open;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The longest file.
const LONGEST: u64 = 4 << 20;

/// The places of the authorities that this machine trusts.
const OF_MACHINE: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The authorities for the registry `host`. Without an own authority, those that
/// Mozilla trusts. Otherwise, the own and those of this machine.
pub(crate) fn find(named: Option<&Path>, host: &str) -> Result<RootCerts> {
    let mut own: Vec<Certificate<'static>> = Vec::new();
    for dir in ["/etc/containers/certs.d", "/etc/docker/certs.d"] {
        own.extend(of_dir(&Path::new(dir).join(host))?);
    }
    if let Some(file) = named {
        let found = read(file)?;
        ensure!(!found.is_empty(), "read {}: it has no certificate", file.display());
        own.extend(found);
    }
    if own.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let of_machine = OF_MACHINE.iter().map(Path::new).find(|file| file.exists());
    if let Some(file) = of_machine {
        own.extend(read(file)?);
    }
    Ok(own.into())
}

/// The certificates in the files `*.crt`, if the directory is there.
fn of_dir(dir: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(found);
    };
    for entry in entries {
        let path = entry.with_context(|| format!("look into {}", dir.display()))?.path();
        if path.extension().is_some_and(|end| end == "crt") {
            found.extend(read(&path)?);
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let doing = || format!("read the certificates in {}", file.display());
    let text =
        open::regular(file).and_then(|file| open::whole(file, LONGEST)).with_context(doing)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.with_context(doing)? {
            found.push(certificate);
        }
    }
    Ok(found)
}
