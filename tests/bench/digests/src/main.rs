//! Many inputs of one length or of mixed ones, and single large ones: hashmesh's `digest_many` beside other libraries, which compute
//! one input after another. `bench-digests ROUNDS THREADS`: each of the threads has all of the inputs.
//!
//! The contestants take turns within a round, and each one's best round counts: what else runs on the machine slows all of
//! them. Every digest is compared before anything is measured.

mod peers;

use std::{hint::black_box, thread, time::Instant};

use hashmesh::v1::Algorithm;
use hashmesh_hash::{Recipe, digest_many};

use peers::{Contestant, peers};

const LENGTHS: [usize; 8] = [16, 64, 256, 1024, 4096, 16_384, 65_536, 1_048_576];
/// Bytes of all inputs of a round, but for the shortest.
const ROUND_BYTES: usize = 2 * 1024 * 1024;
const MOST_INPUTS: usize = 8192;
/// One input at a time, in at most [`LARGE_ROUNDS`] rounds.
const LARGE_LENGTHS: [usize; 2] = [64 * 1024 * 1024, 1024 * 1024 * 1024];
const LARGE_ROUNDS: usize = 3;
/// In a round of several threads, so that starting them is nothing beside it.
const TIMES: usize = 8;
/// Log-uniform from 16 B to 64 KiB.
const MIXED_INPUTS: usize = 512;

fn main() {
    let argument = |place| std::env::args().nth(place).and_then(|text| text.parse().ok());
    let (rounds, threads) = (argument(1).unwrap_or(30), argument(2).unwrap_or(1).max(1));
    if let Ok(names) = std::env::var("HASHMESH_KERNELS") {
        hashmesh_hash::allow_kernels(names.parse().expect("names of kernels"));
    }
    let most = LARGE_LENGTHS.into_iter().chain([2 * ROUND_BYTES]).max().unwrap_or_default();
    let bytes: Vec<u8> = (0..most).map(|place| (place * 31 % 251) as u8).collect();
    println!("kernels: {}", hashmesh_hash::kernel());
    for (algorithm, name) in [(Algorithm::Sha256, "SHA-256"), (Algorithm::Sha512, "SHA-512")] {
        let recipe = Recipe::new([algorithm], 0).expect("no composite");
        let ours: Contestant = (
            "hashmesh",
            Box::new(move |inputs, out| digest_many(&recipe, inputs.iter().copied(), out).expect("digests are right")),
        );
        let contestants: Vec<Contestant> = std::iter::once(ours).chain(peers(algorithm)).collect();
        println!("\n{name}, threads: {threads}; MB/s, and in brackets how many times as fast hashmesh is");
        print!("{:>8} {:>12}", "bytes", "digests/s");
        contestants.iter().for_each(|(name, _)| print!(" {name:>18}"));
        println!();
        for length in LENGTHS {
            let count = (ROUND_BYTES / length).clamp(16, MOST_INPUTS);
            let inputs: Vec<&[u8]> =
                (0..count).map(|number| &bytes[number * length % ROUND_BYTES..][..length]).collect();
            measure(&length.to_string(), &contestants, &inputs, rounds, threads);
        }
        let lengths = mixed_lengths();
        let inputs: Vec<&[u8]> =
            lengths.iter().enumerate().map(|(number, length)| &bytes[number * 77..][..*length]).collect();
        measure("mixed", &contestants, &inputs, rounds, threads);
        for length in LARGE_LENGTHS {
            let title = format!("{} MiB", length >> 20);
            measure(&title, &contestants, &[&bytes[..length]], rounds.min(LARGE_ROUNDS), threads);
        }
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

fn measure(title: &str, contestants: &[Contestant], inputs: &[&[u8]], rounds: usize, threads: usize) {
    let mut wanted = Vec::new();
    contestants[0].1(inputs, &mut wanted);
    for (name, digest) in contestants {
        let mut out = Vec::new();
        digest(inputs, &mut out);
        assert!(out == wanted, "{name} and hashmesh differ");
    }
    let bytes: usize = inputs.iter().map(|input| input.len()).sum();
    let times = if threads > 1 && bytes <= 16 * ROUND_BYTES { TIMES } else { 1 };
    let mut best = vec![f64::INFINITY; contestants.len()];
    for _ in 0..rounds {
        for ((_, digest), best) in contestants.iter().zip(&mut best) {
            let work = || {
                let mut out = Vec::with_capacity(wanted.len());
                for _ in 0..times {
                    out.clear();
                    digest(black_box(inputs), &mut out);
                    black_box(&out);
                }
            };
            let begun = Instant::now();
            thread::scope(|scope| {
                (1..threads).for_each(|_| drop(scope.spawn(work)));
                work();
            });
            let each = begun.elapsed().as_secs_f64() / (threads * times) as f64;
            *best = best.min(each);
        }
    }
    print!("{title:>8} {:>12.0}", inputs.len() as f64 / best[0]);
    for seconds in &best {
        print!(" {:>9.0} ({:>5.2}x)", bytes as f64 / seconds / 1e6, seconds / best[0]);
    }
    println!();
}
