//! Checksums: CRCs and XXH3. Their values are numbers, written with the most significant byte first.

use std::{
    fmt::{self, Debug},
    hash::Hasher as _,
    marker::PhantomData,
};

use crc_fast::CrcAlgorithm;
use twox_hash::{xxhash3_64, xxhash3_128};

use super::kernels::Kernel;

/// A CRC as the catalogue of CRCs defines it (reveng.sourceforge.io/crc-catalogue).
pub(super) trait Catalogued: Debug + Send + Sync + 'static {
    const ENTRY: CrcAlgorithm;
    const DIGEST_BYTES: usize;
}

/// CRC-32/ISO-HDLC: zlib's.
#[derive(Debug)]
pub(super) struct IsoHdlc;

impl Catalogued for IsoHdlc {
    const ENTRY: CrcAlgorithm = CrcAlgorithm::Crc32IsoHdlc;
    const DIGEST_BYTES: usize = 4;
}

/// CRC-32/ISCSI: Castagnoli's.
#[derive(Debug)]
pub(super) struct Iscsi;

impl Catalogued for Iscsi {
    const ENTRY: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;
    const DIGEST_BYTES: usize = 4;
}

/// CRC-64/NVME.
#[derive(Debug)]
pub(super) struct Nvme;

impl Catalogued for Nvme {
    const ENTRY: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;
    const DIGEST_BYTES: usize = 8;
}

/// The state of a CRC.
#[derive(Debug)]
pub(super) struct Crc<C> {
    state: crc_fast::Digest,
    entry: PhantomData<C>,
}

impl<C: Catalogued> Crc<C> {
    fn append(value: u64, out: &mut Vec<u8>) {
        let bytes = value.to_be_bytes();
        out.extend_from_slice(&bytes[bytes.len() - C::DIGEST_BYTES..]);
    }
}

impl<C: Catalogued> Kernel for Crc<C> {
    fn start() -> Self {
        Self { state: crc_fast::Digest::new(C::ENTRY), entry: PhantomData }
    }

    fn update(&mut self, piece: &[u8]) {
        self.state.update(piece);
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        Self::append(self.state.finalize(), out);
    }

    fn digest_into(input: &[u8], out: &mut Vec<u8>) {
        Self::append(crc_fast::checksum(C::ENTRY, input), out);
    }
}

/// A kernel of XXH3 with seed 0: its name, its state, and what the state is read with.
macro_rules! xxh3 {
    ($(#[$docs:meta])* $name:ident, $state:ty, $finish:ident) => {
        $(#[$docs])*
        pub(super) struct $name($state);

        impl Kernel for $name {
            fn start() -> Self {
                Self(<$state>::new())
            }

            fn update(&mut self, piece: &[u8]) {
                self.0.write(piece);
            }

            fn finalize_into(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0.$finish().to_be_bytes());
            }

            fn digest_into(input: &[u8], out: &mut Vec<u8>) {
                out.extend_from_slice(&<$state>::oneshot(input).to_be_bytes());
            }
        }

        impl Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

xxh3! {
    /// XXH3 with 64 bits and seed 0.
    Xxh3, xxhash3_64::Hasher, finish
}

xxh3! {
    /// XXH3 with 128 bits and seed 0.
    Xxh128, xxhash3_128::Hasher, finish_128
}
