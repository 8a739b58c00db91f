//! Reading a manifest: its form is detected, or told.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use clap::Args;

use super::{
    Format, bagit, bsd, coreutils,
    entry::{Entry, Hints, ReadError},
    hashdeep,
    inventory::{Columns, InventoryManifest, MAX_MANIFEST_BYTES},
    jsonl,
    lines::{Line, Lines, Part},
    rclone,
};

/// How manifests are read.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::verbs) struct ReadArgs {
    /// The manifest's form, if it is not what it looks like; gzip is seen in any case. It looks like a bag's by its file name
    /// (`manifest-ALGORITHM.txt`); the sums of rclone look like those of coreutils.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// The columns of an S3 inventory's CSV file, for example `Bucket,Key,Size,ETag`. Its manifest.json names them itself.
    #[arg(long, value_name = "LIST", value_parser = Columns::parse)]
    columns: Option<Columns>,
}

/// Told of each line that is no entry: its number, and why.
pub(in crate::verbs) type OnMalformed<'a> = dyn FnMut(u64, &ReadError) + 'a;

/// A manifest that can be read again.
#[derive(Debug)]
pub(in crate::verbs) struct Manifest {
    lines: Lines,
    form: Form,
    hints: Hints,
    /// Read ahead, to see whether the next line is about the same name.
    ahead: Option<Entry>,
}

/// How lines are understood.
#[derive(Debug)]
enum Form {
    /// Coreutils' two forms and objects, told apart line by line.
    Mixed,
    Coreutils,
    Bsd,
    Jsonl,
    Hashdeep(hashdeep::Columns),
    Bagit,
    Rclone,
    Inventory(Columns),
}

impl Manifest {
    /// Opens a file; `-` is standard input, which is copied first.
    pub(in crate::verbs) fn open(path: &Path, args: &ReadArgs, mut hints: Hints) -> io::Result<Self> {
        let part = Part::open(path)?;
        if args.format.is_none_or(|format| format == Format::S3Inventory)
            && args.columns.is_none()
            && let Some(inventory) = inventory(&part)?
        {
            let (columns, files) = inventory.resolve(path)?;
            let lines = Lines::new(files.into_iter().map(Part::Path).collect());
            return Ok(Self { lines, form: Form::Inventory(columns), hints, ahead: None });
        }
        let bag = bagit::algorithm_of(path);
        let form = match (args.format, &args.columns) {
            (Some(Format::S3Inventory) | None, Some(columns)) => Form::Inventory(columns.clone()),
            (Some(Format::S3Inventory), None) => {
                let text = "an inventory's CSV file needs --columns, unless its manifest.json is given instead";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            (Some(format), Some(_)) => {
                let text = format!("--columns is for S3 inventories, not for --format {}", format.name());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            (Some(Format::Coreutils), None) => Form::Coreutils,
            (Some(Format::Bsd), None) => Form::Bsd,
            (Some(Format::Jsonl), None) => Form::Jsonl,
            (Some(Format::Hashdeep), None) => Form::Hashdeep(hashdeep::Columns::default()),
            (Some(Format::Bagit), None) => Form::Bagit,
            (Some(Format::Rclone), None) => Form::Rclone,
            (None, None) if begins_with(&part, hashdeep::MAGIC)? => Form::Hashdeep(hashdeep::Columns::default()),
            (None, None) if bag.is_some() => Form::Bagit,
            (None, None) => Form::Mixed,
        };
        if matches!(form, Form::Bagit) && hints.algorithms.is_empty() {
            hints.algorithms.extend(bag);
        }
        Ok(Self { lines: Lines::new(vec![part]), form, hints, ahead: None })
    }

    /// Objects per line, in a file of our own.
    pub(in crate::verbs) fn of_objects(file: File) -> Self {
        let lines = Lines::new(vec![Part::Open(file)]);
        Self { lines, form: Form::Jsonl, hints: Hints::default(), ahead: None }
    }

    /// Goes back to its start.
    pub(in crate::verbs) fn rewind(&mut self) {
        self.lines.rewind();
        self.ahead = None;
    }

    /// The next entry. Neighbouring lines about the same name and different algorithms are one.
    pub(in crate::verbs) fn next_entry(&mut self, malformed: &mut OnMalformed<'_>) -> io::Result<Option<Entry>> {
        let mut entry = match self.ahead.take() {
            Some(entry) => entry,
            None => match self.next_line(malformed)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        while let Some(next) = self.next_line(malformed)? {
            let repeats =
                next.digests.iter().any(|(algorithm, _)| entry.digests.iter().any(|(known, _)| known == algorithm));
            if next.name != entry.name || repeats || next.digests.is_empty() || entry.digests.is_empty() {
                self.ahead = Some(next);
                break;
            }
            entry.digests.extend(next.digests);
        }
        Ok(Some(entry))
    }

    fn next_line(&mut self, malformed: &mut OnMalformed<'_>) -> io::Result<Option<Entry>> {
        while let Some((number, line)) = self.lines.next_line()? {
            let parsed = match line {
                Line::Whole(line) => self.form.parse(line, &self.hints),
                Line::TooLong => Err(ReadError::Form),
            };
            match parsed {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(error) => malformed(number, &error),
            }
        }
        Ok(None)
    }
}

impl Form {
    /// Reads a line. None for an empty line, and for a comment where there are any.
    fn parse(&mut self, line: &[u8], hints: &Hints) -> Result<Option<Entry>, ReadError> {
        // As coreutils does, for manifests that went through Windows; a name that ends with CR is written escaped.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(None);
        }
        let comment = line.starts_with(b"#");
        match self {
            Self::Mixed | Self::Coreutils | Self::Bsd if comment => Ok(None),
            Self::Mixed if line.starts_with(b"{") => jsonl::parse(line).map(Some),
            Self::Mixed => match bsd::parse(line)? {
                Some(entry) => Ok(Some(entry)),
                None => coreutils::parse(line, hints).map(Some),
            },
            Self::Coreutils => coreutils::parse(line, hints).map(Some),
            Self::Bsd => bsd::parse(line)?.map(Some).ok_or(ReadError::Form),
            Self::Jsonl => jsonl::parse(line).map(Some),
            Self::Hashdeep(columns) => columns.parse(line),
            Self::Bagit => bagit::parse(line, hints).map(Some),
            Self::Rclone => rclone::parse(line, hints).map(Some),
            Self::Inventory(columns) => columns.entry(line, hints.part_bytes),
        }
    }
}

fn begins_with(part: &Part, magic: &[u8]) -> io::Result<bool> {
    let mut start = vec![0; magic.len()];
    let mut reader = part.read()?;
    match reader.read_exact(&mut start) {
        Ok(()) => Ok(start == magic),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The inventory that a `manifest.json` describes; none if it is another kind of file.
fn inventory(part: &Part) -> io::Result<Option<InventoryManifest>> {
    if !begins_with(part, b"{")? {
        return Ok(None);
    }
    let mut json = Vec::new();
    part.read()?.take(MAX_MANIFEST_BYTES).read_to_end(&mut json)?;
    Ok(InventoryManifest::read(&json))
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;
    use proptest::prelude::*;

    use super::{super::writer::ManifestWriter, *};

    fn open(name: &str, content: &[u8], args: &ReadArgs) -> (tempfile::TempDir, io::Result<Manifest>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let manifest = Manifest::open(&path, args, Hints::default());
        (directory, manifest)
    }

    fn told(format: Format) -> ReadArgs {
        ReadArgs { format: Some(format), columns: None }
    }

    fn entries(manifest: &mut Manifest) -> Vec<Entry> {
        let mut seen = Vec::new();
        while let Some(entry) = manifest.next_entry(&mut |line, error| panic!("line {line}: {error}")).unwrap() {
            seen.push(entry);
        }
        seen
    }

    #[test]
    fn neighbouring_lines_about_one_name_are_one_entry() {
        let (md5, sha1) = ("00".repeat(16), "11".repeat(20));
        let text = format!("MD5 (a) = {md5}\nSHA1 (a) = {sha1}\nMD5 (b) = {md5}\nMD5 (b) = {md5}\nSHA1 (a) = {sha1}");
        let (_directory, manifest) = open("x", text.as_bytes(), &ReadArgs::default());
        let mut manifest = manifest.unwrap();
        let expected = [("a", 2), ("b", 1), ("b", 1), ("a", 1)].map(|(name, count)| (name.as_bytes().to_vec(), count));
        for _ in 0..2 {
            let seen: Vec<_> = entries(&mut manifest).into_iter().map(|e| (e.name, e.digests.len())).collect();
            assert_eq!(seen, expected);
            manifest.rewind();
        }
    }

    #[test]
    fn lines_that_are_no_entries_are_told_by_number() {
        let text = format!("nonsense\n{}\n# comment\n\n{}  ok\n", "x".repeat(200_000), "00".repeat(32));
        let (_directory, manifest) = open("x", text.as_bytes(), &ReadArgs::default());
        let mut manifest = manifest.unwrap();
        let mut told = Vec::new();
        assert!(manifest.next_entry(&mut |line, _| told.push(line)).unwrap().is_some());
        assert!(manifest.next_entry(&mut |line, _| told.push(line)).unwrap().is_none());
        assert_eq!(told, [1, 2]);
    }

    #[test]
    fn the_form_is_seen_by_content_or_by_the_files_name() {
        let (md5, sha1) = ("01".repeat(16), "02".repeat(20));
        let hashdeep = format!("%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n## x\n3,{md5},#a,b\n");
        let inventory = r#"{
            "sourceBucket": "b", "fileFormat": "CSV", "fileSchema": "Bucket, Key, ETag",
            "files": [{"key": "x/data/part.csv", "size": 3}]
        }"#;
        for (file, content, name, digests) in [
            ("plain", format!("{md5}  data/100%25\r\n"), "data/100%25", 1),
            ("manifest-md5.txt", format!("{md5} data/100%25\n"), "data/100%", 1),
            ("both", format!("MD5 (x) = {md5}\nSHA1 (x) = {sha1}\n"), "x", 2),
            ("objects", format!("{{\"name\":\"y\",\"digests\":{{\"md5\":\"{md5}\"}}}}\n"), "y", 1),
            ("deep", hashdeep, "#a,b", 1),
            ("manifest.json", inventory.to_owned(), "s3://b/k", 1),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("data")).unwrap();
            std::fs::write(directory.path().join("data/part.csv"), format!("\"b\",\"k\",\"{md5}\"\n")).unwrap();
            let path = directory.path().join(file);
            std::fs::write(&path, content).unwrap();
            let mut manifest = Manifest::open(&path, &ReadArgs::default(), Hints::default()).unwrap();
            let found = entries(&mut manifest);
            assert_eq!((found[0].name.as_slice(), found[0].digests.len()), (name.as_bytes(), digests), "{file}");
            assert_eq!(found.len(), 1);
        }
    }

    #[test]
    fn a_form_that_is_told_is_the_only_one() {
        let line = format!("{}  new␊line\n", "00".repeat(32));
        let (_directory, manifest) = open("x", line.as_bytes(), &told(Format::Rclone));
        assert_eq!(entries(&mut manifest.unwrap())[0].name, b"new\nline");
        for format in [Format::Bsd, Format::Jsonl, Format::Hashdeep] {
            let (_directory, manifest) = open("x", line.as_bytes(), &told(format));
            let mut bad = 0;
            assert_eq!(manifest.unwrap().next_entry(&mut |_, _| bad += 1).unwrap(), None);
            assert_eq!(bad, 1, "{format:?}");
        }
        assert!(open("x", line.as_bytes(), &told(Format::S3Inventory)).1.is_err());
        let columns = Columns::parse("Bucket,Key").ok();
        let args = ReadArgs { format: Some(Format::Bsd), columns: columns.clone() };
        assert!(open("x", line.as_bytes(), &args).1.is_err());
        let (_directory, manifest) = open("x", b"b,k\n", &ReadArgs { format: None, columns });
        assert_eq!(entries(&mut manifest.unwrap())[0].name, b"s3://b/k");
    }

    proptest! {
        #[test]
        fn every_name_survives_each_form_that_can_hold_it(
            names in proptest::collection::vec(proptest::collection::vec(
                prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'\r'), Just(b' '), Just(b')'), Just(b'%'), Just(b','), 1..=255_u8], 1..20), 1..5),
        ) {
            let digest = [7; 32];
            for format in [Format::Coreutils, Format::Bsd, Format::Hashdeep, Format::Bagit] {
                let mut writer = ManifestWriter::new(Some(format));
                let mut out = Vec::new();
                let mut written = Vec::new();
                writer.begin(&[Algorithm::Sha256], &mut out);
                for name in &names {
                    let digests = [(Algorithm::Sha256, &digest[..])].into_iter();
                    let before = out.len();
                    if writer.entry(name, Some(5), digests, &mut out).is_ok() {
                        written.push(name.clone());
                    } else {
                        prop_assert_eq!(before, out.len());
                        prop_assert!(!matches!(format, Format::Coreutils | Format::Bsd));
                    }
                }
                let args = if format == Format::Hashdeep { ReadArgs::default() } else { told(format) };
                let (_directory, manifest) = open("x", &out, &args);
                let read: Vec<_> = entries(&mut manifest.unwrap()).into_iter().map(|entry| entry.name).collect();
                prop_assert_eq!(read, written, "{:?}", format);
            }
        }
    }
}
