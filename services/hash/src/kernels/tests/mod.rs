use proptest::prelude::*;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::{
    choice::choose,
    kernel::{Kernel, SHA256_KERNELS, SHA512_KERNELS},
    messages::padded_blocks,
    plan::{Plan, Rest},
    standard::MOST_BLOCKS,
    *,
};

mod cavp;
mod plans;

/// The kernels that this CPU has, each alone and each with every narrower one behind it, and `sha2` itself.
fn plans<W: Family>(kernels: &'static [Kernel<W>]) -> Vec<Plan<W>> {
    let here: Vec<_> = kernels.iter().filter(|kernel| (kernel.detected)()).collect();
    let mut plans: Vec<_> = here.iter().map(|kernel| Plan::only(kernel)).chain([Plan::ALONE]).collect();
    for narrow in &here {
        // With fewer than so many lanes at work, the wide one leaves off.
        for (wide, worth) in here.iter().flat_map(|wide| [2, wide.lanes / 2 + 1, wide.lanes].map(|worth| (wide, worth)))
        {
            if wide.lanes > narrow.lanes {
                plans.push(Plan::ALONE.wider(narrow, 2).wider(wide, worth));
            }
        }
    }
    plans
}

/// Every algorithm with every kernel of its family: what is said of them is said of all.
macro_rules! for_every_kernel {
    ($judge:ident $(, $argument:expr)*) => {
        for plan in plans(&SHA256_KERNELS) {
            $judge(&plan, SHA224 $(, $argument)*);
            $judge(&plan, SHA256 $(, $argument)*);
        }
        for plan in plans(&SHA512_KERNELS) {
            $judge(&plan, SHA384 $(, $argument)*);
            $judge(&plan, SHA512 $(, $argument)*);
            $judge(&plan, SHA512_256 $(, $argument)*);
        }
    };
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place * 31 % 251) as u8).collect()
}

fn computed<W: Family>(plan: &Plan<W>, algorithm: Sha2<W>, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
    // Wider than the digests, and begun in the middle: what lies between them must stay as it is.
    let stride = algorithm.digest_bytes + 3;
    let mut out = vec![0xee; 5 + inputs.len() * stride];
    plan.digests(algorithm, inputs, &mut Digests { out: &mut out, at: 5, stride });
    let (before, out) = out.split_at(5);
    assert_eq!(before, [0xee; 5]);
    let digest = |place: &[u8]| {
        let (digest, between) = place.split_at(algorithm.digest_bytes);
        assert_eq!(between, [0xee; 3]);
        digest.to_vec()
    };
    out.chunks(stride).map(digest).collect()
}

/// The digests are those of `sha2`.
fn judge<W: Family>(plan: &Plan<W>, algorithm: Sha2<W>, inputs: &[&[u8]]) {
    for (place, (input, found)) in inputs.iter().zip(computed(plan, algorithm, inputs)).enumerate() {
        let mut wanted = vec![0; algorithm.digest_bytes];
        (algorithm.plain)(input, &mut wanted);
        assert_eq!(found, wanted, "{plan:?}: input {place} of {} bytes", input.len());
    }
}

#[test]
fn every_length_up_to_512_and_around_powers_of_two_is_right_in_every_kernel() {
    let bytes = pattern((1 << 16) + 20);
    let around = (10..=16).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    // Up to what is sorted by its blocks, and beyond: around every end of a block.
    let ends = (1..=MOST_BLOCKS + 1).flat_map(|blocks| [64 * blocks - 9, 64 * blocks, 128 * blocks - 17, 128 * blocks]);
    let lengths: Vec<usize> = (0..=512).chain(ends).chain(around).collect();
    // Alone in a lane's company of equals, and misaligned.
    for length in &lengths {
        let inputs: Vec<&[u8]> = (0..17).map(|start| &bytes[start..][..*length]).collect();
        for_every_kernel!(judge, &inputs);
    }
    // Beside each other in three orders.
    let in_order: Vec<&[u8]> = lengths.iter().map(|length| &bytes[length % 19..][..*length]).collect();
    let reversed: Vec<&[u8]> = in_order.iter().rev().copied().collect();
    // 263 is prime and no divisor of their number: every input comes once.
    let mixed: Vec<&[u8]> = (0..in_order.len()).map(|place| in_order[place * 263 % in_order.len()]).collect();
    for inputs in [in_order, reversed, mixed] {
        for_every_kernel!(judge, &inputs);
    }
}

/// Pages that may be read, and one behind them that may not.
struct Fenced {
    start: *mut u8,
    bytes: usize,
}

impl Fenced {
    const PAGE: usize = 4096;

    fn new() -> Self {
        let bytes = 2 * Self::PAGE;
        let all = bytes + Self::PAGE;
        // SAFETY: the pages are new, and this one's until it is dropped.
        unsafe {
            let start =
                mmap_anonymous(std::ptr::null_mut(), all, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
            let start = start.expect("three pages").cast::<u8>();
            mprotect(start.add(bytes).cast(), Self::PAGE, MprotectFlags::empty()).expect("a fence");
            std::slice::from_raw_parts_mut(start, bytes).copy_from_slice(&pattern(bytes));
            Self { start, bytes }
        }
    }

    /// What ends where the fence begins.
    fn last(&self, bytes: usize) -> &[u8] {
        // SAFETY: these are bytes of pages that may be read.
        unsafe { std::slice::from_raw_parts(self.start.add(self.bytes - bytes), bytes) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into it any more.
        unsafe { munmap(self.start.cast(), self.bytes + Self::PAGE) }.expect("it was mapped");
    }
}

#[test]
fn nothing_behind_an_input_is_read() {
    let fenced = Fenced::new();
    for length in (0..300).chain([1_023, 1_024, 2_048, 4_097, 8_192]) {
        for_every_kernel!(judge, &[fenced.last(length); 17]);
    }
    let mixed: Vec<&[u8]> = (0..70).map(|place| fenced.last(place * 97 % 1_031)).collect();
    for_every_kernel!(judge, &mixed);
}

#[test]
fn one_long_input_in_any_lane_beside_short_ones_is_right() {
    let bytes = pattern(20_000);
    for long in 0..18 {
        let inputs: Vec<&[u8]> =
            (0..18).map(|place| if place == long { &bytes[1..] } else { &bytes[place..][..place * 9] }).collect();
        for_every_kernel!(judge, &inputs);
    }
}

#[test]
fn any_number_of_inputs_is_computed_and_none_is_no_error() {
    let bytes = pattern(320);
    for count in 0..40 {
        let inputs: Vec<&[u8]> = (0..count).map(|place| &bytes[place..][..place * 7]).collect();
        for_every_kernel!(judge, &inputs);
        let chosen = <u32 as Family>::chosen();
        let mut out = vec![0; count * 32];
        chosen.digests(SHA256, &inputs, &mut Digests { out: &mut out, at: 0, stride: 32 });
        assert_eq!(out.chunks(32).map(<[u8]>::to_vec).collect::<Vec<_>>(), computed(&Plan::ALONE, SHA256, &inputs));
    }
}

#[test]
fn padding_takes_another_block_when_its_length_does_not_fit() {
    assert_eq!([0, 55, 56, 64, 119, 120].map(padded_blocks::<u32>), [1, 1, 2, 2, 2, 3]);
    assert_eq!([0, 111, 112, 128, 239, 240].map(padded_blocks::<u64>), [1, 1, 2, 2, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn kernels_agree_with_sha2_on_any_inputs(
        lengths in proptest::collection::vec(prop_oneof![0..300_usize, 0..5_000_usize], 0..70),
        starts in proptest::collection::vec(0..64_usize, 70),
        seed in any::<u64>(),
    ) {
        let mut word = seed | 1;
        let bytes: Vec<u8> = (0..5_064).map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word as u8
        }).collect();
        let inputs: Vec<&[u8]> = lengths.iter().zip(starts).map(|(length, start)| &bytes[start..][..*length]).collect();
        for_every_kernel!(judge, &inputs);
    }
}

/// Zeros, in no time.
unsafe fn zeros(algorithm: Sha2<u32>, inputs: &[&[u8]], digests: &mut Digests<'_>, _: Rest<'_, u32>) {
    (0..inputs.len()).for_each(|number| digests.of(number, algorithm.digest_bytes).fill(0));
}

/// What is right, in twice the time.
unsafe fn slow(algorithm: Sha2<u32>, inputs: &[&[u8]], digests: &mut Digests<'_>, _: Rest<'_, u32>) {
    Plan::ALONE.digests(algorithm, inputs, digests);
    Plan::ALONE.digests(algorithm, inputs, digests);
}

unsafe fn right(pieces: &mut [Piece<'_, u32>], _: Rest<'_, u32>) {
    Plan::ALONE.advance(pieces);
}

unsafe fn idle(_: &mut [Piece<'_, u32>], _: Rest<'_, u32>) {}

#[test]
fn a_kernel_that_gives_a_wrong_digest_or_state_is_left_out_and_the_next_is_taken() {
    static KERNELS: [Kernel<u32>; 4] = [
        Kernel { name: "zeros", lanes: 2, detected: || true, digests: zeros, advance: right },
        Kernel { name: "idle", lanes: 2, detected: || true, digests: slow, advance: idle },
        Kernel { name: "absent", lanes: 2, detected: || false, digests: slow, advance: right },
        Kernel { name: "slow", lanes: 2, detected: || true, digests: slow, advance: right },
    ];
    let chosen = choose(&KERNELS, SHA256, Some(&["zeros", "idle", "absent", "slow"]));
    assert_eq!(chosen.names().as_deref(), Some("slow"));
    let chosen = choose(&KERNELS, SHA256, None);
    assert_eq!(chosen.names(), None, "sha2 is faster");
    let chosen = choose(&KERNELS, SHA256, Some(&["zeros"]));
    assert_eq!(chosen.names(), None, "sha2 is what is left");
}

#[test]
fn a_kernel_that_is_named_is_the_only_one_and_without_a_name_that_is_here_sha2_is() {
    for kernel in SHA256_KERNELS.iter().filter(|kernel| (kernel.detected)()) {
        assert_eq!(choose(&SHA256_KERNELS, SHA256, Some(&[kernel.name])).names().as_deref(), Some(kernel.name));
    }
    for kernel in SHA512_KERNELS.iter().filter(|kernel| (kernel.detected)()) {
        assert_eq!(choose(&SHA512_KERNELS, SHA512, Some(&[kernel.name])).names().as_deref(), Some(kernel.name));
    }
    assert_eq!(choose(&SHA256_KERNELS, SHA256, Some(&["sha2"])).names(), None);
    assert_eq!(choose(&SHA256_KERNELS, SHA256, Some(&["none such"])).names(), None);
}
