//! Rebuilds the crate when a migration is added: the macro that embeds them sees changes of known files only.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../migrations");
}
