//! What a side knows of a name, as bytes that can be sorted away.

use hashmesh::v1::Algorithm;

/// What a side knows of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) digests: Vec<(Algorithm, Vec<u8>)>,
    /// In bytes.
    pub(super) size: Option<u64>,
    /// Why there is no digest.
    pub(super) trouble: Option<String>,
}

impl Known {
    pub(super) fn trouble(why: impl Into<String>) -> Self {
        Self { trouble: Some(why.into()), ..Self::default() }
    }

    /// Puts it: the size (8 bytes, all set if it is not known), the number of digests, each behind its algorithm's number (4
    /// bytes), and the trouble to the end.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.size.unwrap_or(u64::MAX).to_le_bytes());
        out.push(self.digests.len() as u8);
        for (algorithm, digest) in &self.digests {
            out.extend_from_slice(&(*algorithm as i32).to_le_bytes());
            out.extend_from_slice(digest);
        }
        if let Some(trouble) = &self.trouble {
            out.extend_from_slice(trouble.as_bytes());
        }
    }

    /// The reverse. None if it was not packed here.
    pub(super) fn unpack(packed: &[u8]) -> Option<Self> {
        let (size, rest) = packed.split_first_chunk()?;
        let size = Some(u64::from_le_bytes(*size)).filter(|size| *size != u64::MAX);
        let (count, mut rest) = rest.split_first()?;
        let mut digests = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (number, behind) = rest.split_first_chunk()?;
            let algorithm = Algorithm::known(i32::from_le_bytes(*number))?;
            let (digest, behind) = behind.split_at_checked(algorithm.digest_bytes())?;
            digests.push((algorithm, digest.to_vec()));
            rest = behind;
        }
        let trouble = (!rest.is_empty()).then(|| String::from_utf8_lossy(rest).into_owned());
        Some(Self { digests, size, trouble })
    }

    /// Joins what the same side says of the same name a second time.
    pub(super) fn join(&mut self, other: Self) {
        for (algorithm, digest) in other.digests {
            match self.digests.iter().find(|(known, _)| *known == algorithm) {
                Some((_, known)) if *known == digest => {}
                Some(_) => self.trouble = Some(format!("is named twice, with different {} digests", algorithm.name())),
                None => self.digests.push((algorithm, digest)),
            }
        }
        if self.size.is_some() && other.size.is_some() && self.size != other.size {
            self.trouble = Some("is named twice, with different sizes".to_owned());
        }
        self.size = self.size.or(other.size);
        self.trouble = self.trouble.take().or(other.trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(digests: &[(Algorithm, u8)], size: Option<u64>, trouble: Option<&str>) -> Known {
        let digest = |(algorithm, byte): &(Algorithm, u8)| (*algorithm, vec![*byte; algorithm.digest_bytes()]);
        Known { digests: digests.iter().map(digest).collect(), size, trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn what_is_packed_is_the_same_again() {
        let both = [(Algorithm::Md5, 1), (Algorithm::Sha512, 2)];
        for known in
            [known(&both, Some(7), None), known(&[], None, Some("gone")), known(&both[..1], Some(0), Some("x"))]
        {
            let mut packed = b"from before".to_vec();
            known.pack(&mut packed);
            assert_eq!(Known::unpack(&packed), Some(known));
        }
        assert_eq!(Known::unpack(b"short"), None);
    }

    #[test]
    fn two_lines_about_a_name_add_up_or_contradict_each_other() {
        let mut joined = known(&[(Algorithm::Md5, 1)], None, None);
        joined.join(known(&[(Algorithm::Sha1, 2), (Algorithm::Md5, 1)], Some(3), None));
        assert_eq!(joined, known(&[(Algorithm::Md5, 1), (Algorithm::Sha1, 2)], Some(3), None));
        joined.join(known(&[(Algorithm::Md5, 9)], None, None));
        assert!(joined.trouble.is_some_and(|why| why.contains("md5")));
    }
}
