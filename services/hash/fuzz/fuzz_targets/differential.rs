#![no_main]
//! Many inputs at once against one at a time.

#[path = "../body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::many_inputs_have_the_digests_of_each(data));
