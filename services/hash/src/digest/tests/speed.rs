//! How fast each algorithm is here: `cargo test -p hashmesh-hash speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures, and judges nothing"]
fn the_speed_of_every_algorithm() {
    const LENGTH: usize = 4_128_768;
    let input = pattern(LENGTH);
    let seconds_of = |algorithms: &[Algorithm]| {
        let recipe = Recipe::new(algorithms, 1024 * 1024).unwrap();
        let one = || {
            let begun = Instant::now();
            let mut hasher = MultiHasher::new(&recipe);
            hasher.update(&input);
            hasher.finalize_into(&mut Vec::new());
            begun.elapsed().as_secs_f64()
        };
        // The best of some: what others do on this machine is not wanted.
        (0..5).map(|_| one()).fold(f64::INFINITY, f64::min)
    };
    let mut each: Vec<_> = Algorithm::ALL.map(|algorithm| (seconds_of(&[algorithm]), algorithm)).to_vec();
    each.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (seconds, algorithm) in &each {
        println!("{:>16} {:>7.0} MB/s", algorithm.name(), LENGTH as f64 / seconds / 1e6);
    }
    let slowest: Vec<_> = each[..8].iter().map(|(_, algorithm)| *algorithm).collect();
    println!("the eight slowest of a full batch: {:.3} s", seconds_of(&slowest));
}
