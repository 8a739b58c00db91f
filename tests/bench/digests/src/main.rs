//! One thread, many inputs of one length or of mixed ones: hashmesh's `digest_many` beside other libraries, which compute one
//! input after another.
//!
//! The contestants take turns within a round, and each one's best round counts: what else runs on the machine slows all of
//! them. Every digest is compared before anything is measured.

mod peers;

use std::{hint::black_box, time::Instant};

use hashmesh::v1::Algorithm;
use hashmesh_hash::{Recipe, digest_many};

use peers::{Contestant, peers};

const LENGTHS: [usize; 8] = [16, 64, 256, 1024, 4096, 16_384, 65_536, 1_048_576];
/// Bytes of all inputs of a round, but for the shortest.
const ROUND_BYTES: usize = 2 * 1024 * 1024;
const MOST_INPUTS: usize = 8192;
/// Log-uniform from 16 B to 64 KiB.
const MIXED_INPUTS: usize = 512;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(30);
    let bytes: Vec<u8> = (0..2 * ROUND_BYTES).map(|place| (place * 31 % 251) as u8).collect();
    println!("kernels: {}", hashmesh_hash::kernel());
    for (algorithm, name) in [(Algorithm::Sha256, "SHA-256"), (Algorithm::Sha512, "SHA-512")] {
        let recipe = Recipe::new([algorithm], 0).expect("no composite");
        let ours: Contestant = (
            "hashmesh",
            Box::new(move |inputs, out| digest_many(&recipe, inputs.iter().copied(), out).expect("digests are right")),
        );
        let contestants: Vec<Contestant> = std::iter::once(ours).chain(peers(algorithm)).collect();
        println!("\n{name}, one thread; MB/s, and in brackets how many times as fast hashmesh is");
        print!("{:>8} {:>12}", "bytes", "digests/s");
        contestants.iter().for_each(|(name, _)| print!(" {name:>18}"));
        println!();
        for length in LENGTHS {
            let count = (ROUND_BYTES / length).clamp(16, MOST_INPUTS);
            let inputs: Vec<&[u8]> =
                (0..count).map(|number| &bytes[number * length % ROUND_BYTES..][..length]).collect();
            measure(&length.to_string(), &contestants, &inputs, rounds);
        }
        let lengths = mixed_lengths();
        let inputs: Vec<&[u8]> =
            lengths.iter().enumerate().map(|(number, length)| &bytes[number * 77..][..*length]).collect();
        measure("mixed", &contestants, &inputs, rounds);
    }
}

/// Log-uniform, and the same at every run.
fn mixed_lengths() -> Vec<usize> {
    let mut word = 88_172_645_463_325_252_u64;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..MIXED_INPUTS).map(|_| (16.0 * 4096_f64.powf(next())) as usize).collect()
}

fn measure(title: &str, contestants: &[Contestant], inputs: &[&[u8]], rounds: usize) {
    let mut wanted = Vec::new();
    contestants[0].1(inputs, &mut wanted);
    let mut best = vec![f64::INFINITY; contestants.len()];
    let mut out = Vec::with_capacity(wanted.len());
    for round in 0..rounds {
        for ((name, digest), best) in contestants.iter().zip(&mut best) {
            out.clear();
            let begun = Instant::now();
            digest(black_box(inputs), &mut out);
            let seconds = begun.elapsed().as_secs_f64();
            assert!(round > 0 || out == wanted, "{name} and hashmesh differ");
            black_box(&out);
            *best = best.min(seconds);
        }
    }
    let bytes: usize = inputs.iter().map(|input| input.len()).sum();
    print!("{title:>8} {:>12.0}", inputs.len() as f64 / best[0]);
    for seconds in &best {
        print!(" {:>9.0} ({:>5.2}x)", bytes as f64 / seconds / 1e6, seconds / best[0]);
    }
    println!();
}
