//! The other libraries, each as its users call it, one input after another.

use hashmesh::v1::Algorithm;
use sha2::Digest as _;

/// A name, and what appends the digests of all inputs.
pub(crate) type Contestant = (&'static str, Box<dyn Fn(&[&[u8]], &mut Vec<u8>) + Sync>);

pub(crate) fn peers(algorithm: Algorithm) -> Vec<Contestant> {
    let short = algorithm == Algorithm::Sha256;
    let mut peers: Vec<Contestant> = Vec::new();
    if short {
        peers.push(("sha2", Box::new(each(|input, out| out.extend_from_slice(&sha2::Sha256::digest(input))))));
    } else {
        peers.push(("sha2", Box::new(each(|input, out| out.extend_from_slice(&sha2::Sha512::digest(input))))));
    }
    let of_ring = if short { &ring::digest::SHA256 } else { &ring::digest::SHA512 };
    peers.push((
        "ring",
        Box::new(each(move |input, out| out.extend_from_slice(ring::digest::digest(of_ring, input).as_ref()))),
    ));
    #[cfg(feature = "aws-lc-rs")]
    {
        let of_aws = if short { &aws_lc_rs::digest::SHA256 } else { &aws_lc_rs::digest::SHA512 };
        peers.push((
            "aws-lc-rs",
            Box::new(each(move |input, out| out.extend_from_slice(aws_lc_rs::digest::digest(of_aws, input).as_ref()))),
        ));
    }
    peers.push(("openssl-evp", Box::new(move |inputs, out| openssl_evp(short, inputs, out))));
    peers
}

fn each(digest: impl Fn(&[u8], &mut Vec<u8>)) -> impl Fn(&[&[u8]], &mut Vec<u8>) {
    move |inputs, out| inputs.iter().for_each(|input| digest(input, out))
}

/// One context for all inputs: as fast as EVP can be called.
fn openssl_evp(short: bool, inputs: &[&[u8]], out: &mut Vec<u8>) {
    use openssl::{md::Md, md_ctx::MdCtx};

    let method = if short { Md::sha256() } else { Md::sha512() };
    let mut context = MdCtx::new().expect("memory");
    let mut digest = [0; 64];
    for input in inputs {
        context.digest_init(method).expect("a known method");
        context.digest_update(input).expect("any bytes");
        let bytes = context.digest_final(&mut digest).expect("room for the digest");
        out.extend_from_slice(&digest[..bytes]);
    }
}
