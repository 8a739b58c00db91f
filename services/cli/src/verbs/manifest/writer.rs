//! Writing a manifest in one of the forms that name digests line by line.

use hashmesh::v1::Algorithm;

use super::{Format, bagit, bsd, coreutils, hashdeep};

/// Writes one manifest.
#[derive(Debug)]
pub(in crate::verbs) struct ManifestWriter {
    /// As the user said; none leaves it to the number of algorithms.
    format: Option<Format>,
    begun: bool,
}

/// Why a name cannot stand in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::verbs) enum Unwritable {
    #[error("its name has a line break, which {0} form cannot hold")]
    LineBreak(&'static str),
    #[error("its name begins with a space, which {0} form cannot hold")]
    LeadingSpace(&'static str),
    #[error("its name is not UTF-8, as {0} form must be")]
    NotUtf8(&'static str),
    #[error("its size is not known, which hashdeep's form needs: it was computed by a mesh of before sizes were kept")]
    NoSize,
}

impl ManifestWriter {
    pub(in crate::verbs) fn new(format: Option<Format>) -> Self {
        Self { format, begun: false }
    }

    /// Says why a manifest of these digests cannot be written in this form.
    pub(in crate::verbs) fn check(format: Option<Format>, algorithms: &[Algorithm]) -> Result<(), String> {
        match format {
            Some(format @ (Format::Coreutils | Format::Bagit)) if algorithms.len() > 1 => {
                Err(format!("--format {} has one algorithm, not {}", format.name(), algorithms.len()))
            }
            Some(Format::Hashdeep) if hashdeep::order(algorithms).is_none() => {
                Err("--format hashdeep has md5, sha1 and sha256, and no other algorithm".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Puts what comes before all entries, once.
    pub(in crate::verbs) fn begin(&mut self, algorithms: &[Algorithm], out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true)
            && self.format == Some(Format::Hashdeep)
            && let Some(order) = hashdeep::order(algorithms)
        {
            hashdeep::write_header(&order, out);
        }
    }

    /// Puts an entry: a line, or one per digest.
    pub(in crate::verbs) fn entry<'a>(
        &self,
        name: &[u8],
        size: Option<u64>,
        digests: impl Iterator<Item = (Algorithm, &'a [u8])> + Clone,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        // The plain form does not say which digest it is.
        let unsaid = if digests.clone().nth(1).is_some() { Format::Bsd } else { Format::Coreutils };
        let format = self.format.unwrap_or(unsaid);
        if format == Format::Hashdeep {
            return hashdeep::write(name, size, &digests, out);
        }
        for (algorithm, digest) in digests {
            match format {
                Format::Bsd => bsd::write(name, algorithm, digest, out),
                Format::Bagit => bagit::write(name, digest, out)?,
                _ => coreutils::write(name, digest, out),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Option<Format>, digests: &[(Algorithm, &[u8])]) -> String {
        let algorithms: Vec<Algorithm> = digests.iter().map(|(algorithm, _)| *algorithm).collect();
        let mut writer = ManifestWriter::new(format);
        let mut out = Vec::new();
        for _ in 0..2 {
            writer.begin(&algorithms, &mut out);
            writer.entry(b"data/x%", Some(3), digests.iter().copied(), &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_form_has_its_header_once_and_its_lines() {
        let md5 = (Algorithm::Md5, &[1][..]);
        let both = [md5, (Algorithm::Sha1, &[2][..])];
        assert_eq!(written(None, &[md5]), "01  data/x%\n".repeat(2));
        assert_eq!(written(None, &both), "MD5 (data/x%) = 01\nSHA1 (data/x%) = 02\n".repeat(2));
        assert_eq!(written(Some(Format::Bsd), &[md5]), "MD5 (data/x%) = 01\n".repeat(2));
        assert_eq!(written(Some(Format::Bagit), &[md5]), "01  data/x%25\n".repeat(2));
        let header = "%%%% HASHDEEP-1.0\n%%%% size,md5,sha1,filename\n## written by hashmesh\n";
        assert_eq!(written(Some(Format::Hashdeep), &both), format!("{header}{}", "3,01,02,data/x%\n".repeat(2)));
    }

    #[test]
    fn a_form_says_which_digests_it_holds() {
        let two = [Algorithm::Md5, Algorithm::Sha256];
        for (format, one_is_fine, two_are_fine) in [
            (None, true, true),
            (Some(Format::Coreutils), true, false),
            (Some(Format::Bsd), true, true),
            (Some(Format::Bagit), true, false),
            (Some(Format::Hashdeep), true, true),
        ] {
            assert_eq!(ManifestWriter::check(format, &two[..1]).is_ok(), one_is_fine, "{format:?}");
            assert_eq!(ManifestWriter::check(format, &two).is_ok(), two_are_fine, "{format:?}");
        }
        ManifestWriter::check(Some(Format::Hashdeep), &[Algorithm::Blake3]).unwrap_err();
    }
}
