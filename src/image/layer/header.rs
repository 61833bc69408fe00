//! The headers of layer archives: USTAR where everything fits, else PAX, byte for byte as Go's `archive/tar` writes them.
//!
//! The digest of a layer is the digest of these bytes, so that images made here and images made by the Go lifecycle share
//! layers. The golden vectors in `vectors_tests.rs` come from the Go program.

use super::entry::{EntryKind, LayerEntry};

/// Size of a header, and what data is padded to.
pub(super) const BLOCK: usize = 512;
/// The time of every entry: 1980-01-01T00:00:01Z. Zip files, and so Java, know no earlier one than 1980.
pub(super) const MODIFIED: u64 = 315_532_801;

const NAME: usize = 100;
const PREFIX: usize = 155;

/// Appends the header of `entry`, with a PAX header before it where that is needed.
pub(super) fn append(out: &mut Vec<u8>, entry: &LayerEntry) {
    let link: &[u8] = match &entry.kind {
        EntryKind::Symlink { target } => target,
        _ => b"",
    };
    let size = entry.size();
    let split = split_path(&entry.path);
    let wide_link = !fits(link);
    let wide = [(7, u64::from(entry.uid)), (7, u64::from(entry.gid)), (11, size)]
        .map(|(digits, value)| if octal_fits(digits, value) { None } else { Some(value) });
    if split.is_some() && !wide_link && wide.iter().all(Option::is_none) {
        let (prefix, name) = split.unwrap_or_default();
        let mut header = plain_header(entry, name, link);
        header.text(345, PREFIX, prefix);
        out.extend_from_slice(&header.sealed());
        return;
    }
    let mut records = Vec::new();
    let [uid, gid, size] = wide;
    // Sorted by key.
    if let Some(gid) = gid {
        append_record(&mut records, "gid", gid.to_string().as_bytes());
    }
    if wide_link {
        append_record(&mut records, "linkpath", link);
    }
    if !fits(&entry.path) {
        append_record(&mut records, "path", &entry.path);
    }
    if let Some(size) = size {
        append_record(&mut records, "size", size.to_string().as_bytes());
    }
    if let Some(uid) = uid {
        append_record(&mut records, "uid", uid.to_string().as_bytes());
    }
    out.extend_from_slice(&extended_header(&entry.path, records.len()).sealed());
    out.extend_from_slice(&records);
    out.resize(out.len() + padding(records.len() as u64), 0);
    let header = plain_header(entry, &ascii(&entry.path), &ascii(link));
    out.extend_from_slice(&header.sealed());
}

/// Returns how many NUL bytes follow data of `size` bytes.
#[must_use]
pub(super) fn padding(size: u64) -> usize {
    // Less than 512.
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or_default()
}

fn plain_header(entry: &LayerEntry, name: &[u8], link: &[u8]) -> Header {
    let (kind, major, minor) = match entry.kind {
        EntryKind::File { .. } => (b'0', 0, 0),
        EntryKind::Symlink { .. } => (b'2', 0, 0),
        EntryKind::CharacterDevice { major, minor } => (b'3', major, minor),
        EntryKind::BlockDevice { major, minor } => (b'4', major, minor),
        EntryKind::Directory => (b'5', 0, 0),
        EntryKind::Fifo => (b'6', 0, 0),
    };
    let mut header = Header([0; BLOCK]);
    header.text(0, NAME, name);
    header.octal(100, 7, u64::from(entry.mode));
    header.octal(108, 7, u64::from(entry.uid));
    header.octal(116, 7, u64::from(entry.gid));
    header.octal(124, 11, entry.size());
    header.octal(136, 11, MODIFIED);
    header.0[156] = kind;
    header.text(157, NAME, link);
    header.octal(329, 7, u64::from(major));
    header.octal(337, 7, u64::from(minor));
    header
}

/// The header of PAX records: all numbers zero, the device numbers left out.
fn extended_header(path: &[u8], size: usize) -> Header {
    let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (folder, base) = path.split_at(slash);
    let mut name = ascii(&[folder, b"PaxHeaders.0/", base].concat());
    name.truncate(NAME);
    while name.last() == Some(&b'/') {
        name.pop();
    }
    let mut header = Header([0; BLOCK]);
    header.text(0, NAME, &name);
    for (start, digits) in [(100, 7), (108, 7), (116, 7), (136, 11)] {
        header.octal(start, digits, 0);
    }
    header.octal(124, 11, size as u64);
    header.0[156] = b'x';
    header
}

/// A header under way.
struct Header([u8; BLOCK]);

impl Header {
    /// Writes a text, cut where it is too long; a cut that leaves a `/` at the end would read as a folder.
    fn text(&mut self, start: usize, length: usize, text: &[u8]) {
        let field = &mut self.0[start..start + length];
        let shown = text.len().min(length);
        field[..shown].copy_from_slice(&text[..shown]);
        if text.len() > length && field[length - 1] == b'/' {
            let kept = text[..length - 1].iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            field[kept] = 0;
        }
    }

    /// Writes octal digits and a NUL; what does not fit is zero here and stands in a PAX record.
    fn octal(&mut self, start: usize, digits: usize, value: u64) {
        let mut left = if octal_fits(digits, value) { value } else { 0 };
        for place in self.0[start..start + digits].iter_mut().rev() {
            *place = b'0' + (left & 7) as u8;
            left >>= 3;
        }
        self.0[start + digits] = 0;
    }

    /// Sets magic, version and checksum.
    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[257..265].copy_from_slice(b"ustar\x0000");
        // The checksum counts itself as spaces.
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148, 6, sum);
        self.0
    }
}

fn octal_fits(digits: usize, value: u64) -> bool {
    value >> (3 * digits) == 0
}

/// Tells whether a text fits into the field for names without help.
fn fits(text: &[u8]) -> bool {
    text.len() <= NAME && text.is_ascii()
}

/// Splits a path into prefix and name, or says that only PAX can hold it.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let slash = path[..path.len().min(PREFIX + 1)].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= NAME).then_some((prefix, name))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).collect()
}

/// Appends `<length> <key>=<value>\n`, where the length counts its own digits.
fn append_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entry: &LayerEntry) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, entry);
        out
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for length in 1..200 {
            let mut records = Vec::new();
            append_record(&mut records, "path", &vec![b'x'; length]);
            let written: usize = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(written, records.len());
        }
    }

    #[test]
    fn a_long_name_is_split_at_the_last_slash_that_fits() {
        let path = format!("/{}/{}", "a".repeat(60), "b".repeat(90));
        let header = headers(&LayerEntry::directory(path.clone(), 0o755));
        assert_eq!(header.len(), BLOCK);
        assert_eq!(&header[..90], "b".repeat(90).as_bytes());
        assert_eq!(&header[345..406], format!("/{}", "a".repeat(60)).as_bytes());
        let unsplittable = format!("/{}/{}", "a".repeat(60), "b".repeat(101));
        let header = headers(&LayerEntry::directory(unsplittable, 0o755));
        assert_eq!((header.len(), header[156]), (3 * BLOCK, b'x'));
    }

    #[test]
    fn what_is_too_large_for_octal_digits_is_a_record() {
        let mut entry = LayerEntry::directory("/big", 0o644).owned_by(2_097_152, 2_097_151);
        let source = super::super::entry::FileSource::Bytes(bytes::Bytes::new());
        entry.kind = EntryKind::File { source, size: 8 << 30 };
        let header = headers(&entry);
        let records = std::str::from_utf8(&header[BLOCK..2 * BLOCK]).unwrap();
        assert!(records.starts_with("19 size=8589934592\n15 uid=2097152\n\0"), "{records}");
        assert_eq!(&header[2 * BLOCK + 108..2 * BLOCK + 124], b"0000000\x007777777\0");
        assert_eq!(&header[2 * BLOCK + 124..2 * BLOCK + 136], b"00000000000\0");
        assert_eq!(&header[329..345], [0; 16]);
    }

    #[test]
    fn other_readers_understand_what_is_written() {
        let long = format!("/layers/{}/{}/é", "d".repeat(120), "e".repeat(120));
        let target = "t".repeat(300);
        let mut archive = headers(&LayerEntry::symlink(long.clone(), 0o777, target.clone()));
        archive.extend(headers(&LayerEntry::directory("/cnb", 0o4755)));
        archive.resize(archive.len() + 2 * BLOCK, 0);
        let mut read = tar::Archive::new(archive.as_slice());
        let entries: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
                (entry.path_bytes().into_owned(), link, entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(entries, [(long.into_bytes(), Some(target.into_bytes()), 0o777), (b"/cnb".to_vec(), None, 0o4755)]);
    }
}
