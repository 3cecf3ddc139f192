//! Archives for the tests. tar(1) cannot make many of them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::Header;

/// An entry, written exactly as given.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The type in ustar: `0` is a file, `5` a directory, and so on.
    pub kind: u8,
    /// The name, of any bytes. The header has room for 100.
    pub name: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// The data after the header.
    pub data: Vec<u8>,
    /// The mode.
    pub mode: u32,
    /// The IDs of the user and the group.
    pub owner: (u64, u64),
    /// The time of the last change, in seconds since 1970.
    pub modified: u64,
    /// The size in the header, if it differs from the size of the data.
    pub declared: Option<u64>,
}

impl Entry {
    /// An entry without data.
    pub fn new(kind: u8, name: &str) -> Entry {
        Entry {
            kind,
            name: name.into(),
            link: Vec::new(),
            data: Vec::new(),
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            // No user who runs the tests has this ID.
            owner: (54_321, 54_321),
            modified: 1_000_000_000,
            declared: None,
        }
    }

    /// A directory.
    pub fn directory(name: &str) -> Entry {
        Entry::new(b'5', name)
    }

    /// A file.
    pub fn file(name: &str, data: &str) -> Entry {
        Entry { data: data.into(), ..Entry::new(b'0', name) }
    }

    /// A symbolic link.
    pub fn symlink(name: &str, target: &str) -> Entry {
        Entry { link: target.into(), ..Entry::new(b'2', name) }
    }

    /// A hard link.
    pub fn hard_link(name: &str, target: &str) -> Entry {
        Entry { link: target.into(), ..Entry::new(b'1', name) }
    }

    /// An extended header with pax records.
    pub fn pax(records: &[(&str, &[u8])]) -> Entry {
        let mut data = Vec::new();
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|n| rest + n).find(|all| all.to_string().len() + rest == *all);
            write!(data, "{} {key}=", length.expect("a length")).expect("write to memory");
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        Entry { data, ..Entry::new(b'x', "pax") }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().expect("a ustar header");
        put(&mut fields.name, &self.name);
        put(&mut fields.linkname, &self.link);
        fields.typeflag = [self.kind];
        header.set_mode(self.mode);
        header.set_mtime(self.modified);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_size(self.declared.unwrap_or(self.data.len() as u64));
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let n = bytes.len().min(field.len());
    field[..n].copy_from_slice(&bytes[..n]);
}

/// An archive of the entries.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

/// The bytes, compressed with gzip.
pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory")
}
