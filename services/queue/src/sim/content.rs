//! What clients bring: tasks whose bytes say who they are and what becomes of whoever works on them.

use std::fmt::Write as _;

use bytes::Bytes;
use hashmesh::v1::PackedTasks;
use prost::Message as _;

use super::chance::mix;

/// The prefix of all URIs.
pub(super) const PREFIX: &str = "file:///data/";

/// What becomes of a task at an honest worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Fine,
    /// Its digest is not the expected one.
    Mismatched,
    /// Fails so many times for a reason that may pass; 255: always.
    FailsFor(u8),
    /// Fails for good.
    Denied,
    /// Kills whoever begins it.
    Poison,
    /// Whoever begins it gets no further.
    Hangs,
    /// Every second worker cannot reach it.
    Elsewhere,
}

impl Behaviour {
    fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Fine => [0, 0],
            Self::Mismatched => [1, 0],
            Self::FailsFor(times) => [2, times],
            Self::Denied => [3, 0],
            Self::Poison => [4, 0],
            Self::Hangs => [5, 0],
            Self::Elsewhere => [6, 0],
        }
    }

    /// What a worker finds in a task's bytes.
    pub(super) fn of(input: &[u8]) -> Self {
        match input {
            [_, _, _, _, _, _, _, _, 1, _] => Self::Mismatched,
            [_, _, _, _, _, _, _, _, 2, times] => Self::FailsFor(*times),
            [_, _, _, _, _, _, _, _, 3, _] => Self::Denied,
            [_, _, _, _, _, _, _, _, 4, _] => Self::Poison,
            [_, _, _, _, _, _, _, _, 5, _] => Self::Hangs,
            [_, _, _, _, _, _, _, _, 6, _] => Self::Elsewhere,
            _ => Self::Fine,
        }
    }
}

/// How often tasks misbehave, per mille.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Odds {
    pub(super) mismatched: u64,
    pub(super) fails: u64,
    pub(super) denied: u64,
    pub(super) poison: u64,
    pub(super) hangs: u64,
    pub(super) elsewhere: u64,
}

impl Odds {
    fn behaviour(&self, chance: u64) -> Behaviour {
        let times = [1, 1, 2, 3, 255][usize::try_from((chance >> 32) % 5).unwrap_or_default()];
        let mut left = chance % 1000;
        for (odds, behaviour) in [
            (self.mismatched, Behaviour::Mismatched),
            (self.fails, Behaviour::FailsFor(times)),
            (self.denied, Behaviour::Denied),
            (self.poison, Behaviour::Poison),
            (self.hangs, Behaviour::Hangs),
            (self.elsewhere, Behaviour::Elsewhere),
        ] {
            if left < odds {
                return behaviour;
            }
            left -= odds;
        }
        Behaviour::Fine
    }
}

/// A batch as a client makes it.
#[derive(Debug)]
pub(super) struct Content {
    /// Whose it is.
    pub(super) client: usize,
    pub(super) sequence: u32,
    pub(super) by_reference: bool,
    pub(super) inputs: Vec<[u8; 10]>,
    pub(super) packed: Bytes,
    pub(super) fingerprint: [u8; 32],
}

impl Content {
    /// The same for the same arguments. `version`: another makes other tasks.
    pub(super) fn new(seed: u64, client: usize, sequence: u32, version: u8, tasks: u32, odds: Odds) -> Self {
        let chance = |task: u32| {
            let place = (client as u64) << 48 | u64::from(version) << 40 | u64::from(sequence) << 16 | u64::from(task);
            mix(mix(seed).wrapping_add(place))
        };
        let by_reference = chance(u32::from(u16::MAX)).is_multiple_of(3);
        let input = |task: u32| {
            let (who, chance) = (chance(task), chance(task + 0x8000));
            let mut input = [0; 10];
            input[..8].copy_from_slice(&who.to_be_bytes());
            input[8..].copy_from_slice(&odds.behaviour(chance).to_bytes());
            input
        };
        let inputs: Vec<[u8; 10]> = (0..tasks).map(input).collect();
        let mut columns = PackedTasks::default();
        let mut data = Vec::new();
        for input in &inputs {
            let before = data.len();
            if by_reference {
                data.extend_from_slice(uri(input).as_bytes());
                columns.lengths.push(u32::try_from(data.len() - before).unwrap_or_default());
            } else {
                data.extend_from_slice(input);
                columns.lengths.push(10);
            }
        }
        columns.data = data.into();
        if by_reference {
            columns.kinds = vec![1; inputs.len()].into();
        }
        let packed = Bytes::from(columns.encode_to_vec());
        let fingerprint = *blake3::hash(&packed).as_bytes();
        Self { client, sequence, by_reference, inputs, packed, fingerprint }
    }

    pub(super) fn tasks(&self) -> u32 {
        u32::try_from(self.inputs.len()).unwrap_or_default()
    }
}

fn uri(input: &[u8]) -> String {
    input.iter().fold(PREFIX.to_owned(), |mut uri, byte| {
        let _ = write!(uri, "{byte:02x}");
        uri
    })
}

/// What a worker reads for the tasks of a lease: bytes that came with it, or that a URI names.
pub(super) fn read(packed: &[u8]) -> Option<Vec<[u8; 10]>> {
    let columns = PackedTasks::decode(packed).ok()?;
    let mut inputs = Vec::with_capacity(columns.lengths.len());
    let mut rest = &columns.data[..];
    for length in &columns.lengths {
        let (task, behind) = rest.split_at_checked(*length as usize)?;
        rest = behind;
        inputs.push(if columns.kinds.is_empty() { task.try_into().ok()? } else { named(task)? });
    }
    rest.is_empty().then_some(inputs)
}

fn named(uri: &[u8]) -> Option<[u8; 10]> {
    let digits = std::str::from_utf8(uri.strip_prefix(PREFIX.as_bytes())?).ok()?;
    let mut input = [0; 10];
    for (byte, place) in input.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()?;
    }
    Some(input)
}

/// The digest of the simulation's only algorithm: FNV-1a, 64 bits.
pub(super) fn digest(input: &[u8]) -> [u8; 8] {
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.to_be_bytes()
}
