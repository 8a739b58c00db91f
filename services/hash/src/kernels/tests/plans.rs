//! How many inputs are left to which kernel.

use std::time::Duration;

use super::*;
use crate::kernels::choice::{Times, plan};

unsafe fn plain(algorithm: Sha2<u32>, inputs: &[&[u8]], digests: &mut Digests<'_>, _: Rest<'_, u32>) {
    Plan::ALONE.digests(algorithm, inputs, digests);
}

static WIDE: Kernel<u32> = Kernel { name: "wide", lanes: 16, detected: || true, digests: plain, advance: right };
static MIDDLE: Kernel<u32> = Kernel { name: "middle", lanes: 8, detected: || true, digests: plain, advance: right };
static NARROW: Kernel<u32> = Kernel { name: "narrow", lanes: 2, detected: || true, digests: plain, advance: right };

/// The plan for kernels that take so many microseconds where `sha2` takes 1,000.
fn planned(alone: bool, kernels: &[(&'static Kernel<u32>, u64)]) -> Plan<u32> {
    let kernels = kernels.iter().map(|(kernel, micros)| (*kernel, Duration::from_micros(*micros))).collect();
    plan(alone, &Times { alone: Duration::from_millis(1), kernels })
}

fn names(plan: &Plan<u32>, inputs: std::ops::RangeInclusive<usize>) -> Vec<&'static str> {
    inputs.map(|inputs| plan.kernel_for(inputs).map_or("sha2", |(kernel, _)| kernel.name)).collect()
}

#[test]
fn four_inputs_are_computed_two_by_two_where_sixteen_are_worth_more_lanes() {
    let plan = planned(true, &[(&WIDE, 400), (&NARROW, 520), (&MIDDLE, 900)]);
    assert_eq!(names(&plan, 1..=4), ["sha2", "narrow", "narrow", "narrow"]);
    // Sixteen lanes take as long as 12.3 inputs two by two.
    assert_eq!(names(&plan, 12..=13), ["narrow", "wide"]);
    assert_eq!(names(&plan, 1_000..=1_000), ["wide"]);
    assert_eq!(plan.kernels().map(|kernel| kernel.name).collect::<Vec<_>>(), ["wide", "narrow"]);
}

#[test]
fn of_kernels_that_are_as_fast_the_narrower_one_is_taken() {
    for wide in [491, 500, 520] {
        let plan = planned(true, &[(&WIDE, wide), (&NARROW, 500)]);
        assert_eq!(names(&plan, 2..=20), ["narrow"; 19], "{wide}");
    }
    assert_eq!(names(&planned(true, &[(&WIDE, 490), (&NARROW, 500)]), 15..=17), ["narrow", "wide", "wide"]);
    assert!(planned(true, &[(&WIDE, 990), (&NARROW, 1_010)]).kernels().next().is_none(), "sha2 is as fast");
}

#[test]
fn where_sha2_may_not_be_used_a_kernel_that_is_slower_is() {
    let plan = planned(false, &[(&WIDE, 3_000), (&MIDDLE, 2_000)]);
    assert_eq!(names(&plan, 7..=16), [&["sha2"][..], &["middle"; 9]].concat());
}

/// Says that it was called, by a state that no input has.
unsafe fn marks(pieces: &mut [Piece<'_, u32>], _: Rest<'_, u32>) {
    pieces.iter_mut().for_each(|(state, _)| **state = [0xaa; 8]);
}

#[test]
fn what_remains_in_too_few_lanes_goes_to_the_narrower_kernel() {
    static MARKS: Kernel<u32> = Kernel { name: "marks", lanes: 2, detected: || true, digests: plain, advance: marks };
    let bytes = pattern(40 * 64);
    for wide in SHA256_KERNELS.iter().filter(|kernel| (kernel.detected)() && kernel.lanes > 2) {
        let plan = Plan::ALONE.wider(&MARKS, 2).wider(wide, wide.lanes);
        let mut states = vec![SHA256.initial; wide.lanes];
        // One ends earlier; then the others are too few.
        let length = |lane: usize| if lane == 1 { 10 * 64 } else { 40 * 64 };
        let mut pieces: Vec<Piece<'_, u32>> =
            states.iter_mut().enumerate().map(|(lane, state)| (state, &bytes[..length(lane)])).collect();
        plan.advance(&mut pieces);
        for (lane, state) in states.into_iter().enumerate() {
            assert_eq!(state == [0xaa; 8], lane != 1, "{plan:?}: lane {lane}");
        }
    }
}
