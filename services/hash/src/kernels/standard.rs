//! What FIPS 180-4 fixes: words, block lengths, round constants (§4.2.2, §4.2.3) and initial values (§5.3).

use std::fmt::Debug;

use sha2::{
    Digest,
    block_api::{compress256, compress512},
};

/// A word of SHA-2: `u32` for SHA-224 and SHA-256, `u64` for the others.
pub(crate) trait Word: Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    /// 16 words.
    const BLOCK_BYTES: usize;
    /// Of the length in bits that ends the padding.
    const LENGTH_BYTES: usize;
    /// One word per round.
    const ROUNDS: &'static [Self];
    /// What errors and names call the algorithms of this word.
    const FAMILY: &'static str;

    /// Runs the block function of `sha2` over whole blocks: one input alone.
    fn compress(state: &mut [Self; 8], blocks: &[u8]);

    /// Zeros in a block.
    fn clear(block: &mut [u8]);

    /// Writes the start of the words, the most significant byte first.
    fn write(words: &[Self; 8], digest: &mut [u8]);

    /// Writes the start of the words as they are in memory.
    fn copy(words: &[Self; 8], digest: &mut [u8]);

    /// The last word of an input's padding: its length in bits. Of a short input.
    fn from_bits(bytes: usize) -> Self;

    /// The schedule of the block that ends an input of `blocks - 1` whole blocks, the round constants added. At most
    /// [`MOST_BLOCKS`].
    fn padding_rounds(blocks: usize) -> &'static [Self];
}

/// [`Word::copy`], whose number of bytes is a constant only where the word is known.
macro_rules! copy {
    () => {
        fn copy(words: &[Self; 8], digest: &mut [u8]) {
            let mut bytes = [0; size_of::<[Self; 8]>()];
            for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_ne_bytes();
            }
            // Of a fixed length where that is the common one.
            if let Some(all) = digest.as_mut_array() {
                *all = bytes;
            } else {
                digest.copy_from_slice(&bytes[..digest.len()]);
            }
        }
    };
}

impl Word for u32 {
    const BLOCK_BYTES: usize = 64;
    const LENGTH_BYTES: usize = 8;
    const ROUNDS: &'static [Self] = &K32;
    const FAMILY: &'static str = "sha256";

    fn compress(state: &mut [Self; 8], blocks: &[u8]) {
        compress256(state, blocks.as_chunks().0);
    }

    fn clear(block: &mut [u8]) {
        for bytes in block.as_chunks_mut::<64>().0 {
            *bytes = [0; 64];
        }
    }

    fn write(words: &[Self; 8], digest: &mut [u8]) {
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
    }

    copy!();

    fn from_bits(bytes: usize) -> Self {
        bytes as Self * 8
    }

    fn padding_rounds(blocks: usize) -> &'static [Self] {
        &PADDING_32[blocks]
    }
}

impl Word for u64 {
    const BLOCK_BYTES: usize = 128;
    const LENGTH_BYTES: usize = 16;
    const ROUNDS: &'static [Self] = &K64;
    const FAMILY: &'static str = "sha512";

    fn compress(state: &mut [Self; 8], blocks: &[u8]) {
        compress512(state, blocks.as_chunks().0);
    }

    fn clear(block: &mut [u8]) {
        for bytes in block.as_chunks_mut::<128>().0 {
            *bytes = [0; 128];
        }
    }

    fn write(words: &[Self; 8], digest: &mut [u8]) {
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
    }

    copy!();

    fn from_bits(bytes: usize) -> Self {
        bytes as Self * 8
    }

    fn padding_rounds(blocks: usize) -> &'static [Self] {
        &PADDING_64[blocks]
    }
}

/// Inputs of so many blocks, padding included, are worth a look at how many blocks others have.
pub(super) const MOST_BLOCKS: usize = 32;

/// See [`Word::padding_rounds`]. The shifts are those of the two σ of FIPS 180-4, §4.1.
macro_rules! padding_rounds {
    ($name:ident, $word:ty, $rounds:literal, $constants:ident, [$a:literal $b:literal $c:literal], [$d:literal $e:literal $f:literal]) => {
        static $name: [[$word; $rounds]; MOST_BLOCKS + 1] = {
            const fn of(blocks: usize, constants: &[$word; $rounds]) -> [$word; $rounds] {
                let mut words = [0; $rounds];
                words[0] = 1 << (<$word>::BITS - 1);
                words[15] = ((blocks - 1) * 16) as $word * <$word>::BITS as $word;
                let mut at = 16;
                while at < $rounds {
                    let (near, far): ($word, $word) = (words[at - 2], words[at - 15]);
                    let near = near.rotate_right($d) ^ near.rotate_right($e) ^ (near >> $f);
                    let far = far.rotate_right($a) ^ far.rotate_right($b) ^ (far >> $c);
                    words[at] = far.wrapping_add(words[at - 16]).wrapping_add(words[at - 7]).wrapping_add(near);
                    at += 1;
                }
                at = 0;
                while at < $rounds {
                    words[at] = words[at].wrapping_add(constants[at]);
                    at += 1;
                }
                words
            }
            let mut all = [[0; $rounds]; MOST_BLOCKS + 1];
            let mut blocks = 1;
            while blocks <= MOST_BLOCKS {
                all[blocks] = of(blocks, &$constants);
                blocks += 1;
            }
            all
        };
    };
}

padding_rounds!(PADDING_32, u32, 64, K32, [7 18 3], [17 19 10]);
padding_rounds!(PADDING_64, u64, 80, K64, [1 8 7], [19 61 6]);

/// One algorithm of the family: where it begins, and how much of the end is its digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sha2<W> {
    pub(crate) initial: [W; 8],
    pub(crate) digest_bytes: usize,
    /// Writes the digest of an input as `sha2` has it, with nothing of ours: what the kernels are compared with.
    pub(crate) plain: fn(&[u8], &mut [u8]),
}

/// The digest of `D`, which is as long as `digest`.
fn plain<D: Digest>(input: &[u8], digest: &mut [u8]) {
    digest.copy_from_slice(&D::digest(input));
}

pub(crate) const SHA224: Sha2<u32> = Sha2 {
    initial: [0xc105_9ed8, 0x367c_d507, 0x3070_dd17, 0xf70e_5939, 0xffc0_0b31, 0x6858_1511, 0x64f9_8fa7, 0xbefa_4fa4],
    digest_bytes: 28,
    plain: plain::<sha2::Sha224>,
};

pub(crate) const SHA256: Sha2<u32> = Sha2 {
    initial: [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19],
    digest_bytes: 32,
    plain: plain::<sha2::Sha256>,
};

pub(crate) const SHA384: Sha2<u64> = Sha2 {
    initial: [
        0xcbbb_9d5d_c105_9ed8,
        0x629a_292a_367c_d507,
        0x9159_015a_3070_dd17,
        0x152f_ecd8_f70e_5939,
        0x6733_2667_ffc0_0b31,
        0x8eb4_4a87_6858_1511,
        0xdb0c_2e0d_64f9_8fa7,
        0x47b5_481d_befa_4fa4,
    ],
    digest_bytes: 48,
    plain: plain::<sha2::Sha384>,
};

pub(crate) const SHA512: Sha2<u64> = Sha2 {
    initial: [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ],
    digest_bytes: 64,
    plain: plain::<sha2::Sha512>,
};

pub(crate) const SHA512_256: Sha2<u64> = Sha2 {
    initial: [
        0x2231_2194_fc2b_f72c,
        0x9f55_5fa3_c84c_64c2,
        0x2393_b86b_6f53_b151,
        0x9638_7719_5940_eabd,
        0x9628_3ee2_a88e_ffe3,
        0xbe5e_1e25_5386_3992,
        0x2b01_99fc_2c85_b8aa,
        0x0eb7_2ddc_81c5_2ca2,
    ],
    digest_bytes: 32,
    plain: plain::<sha2::Sha512_256>,
};

/// Static, not constant: the kernels read them from memory.
static K32: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

static K64: [u64; 80] = [
    0x428a_2f98_d728_ae22,
    0x7137_4491_23ef_65cd,
    0xb5c0_fbcf_ec4d_3b2f,
    0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538,
    0x59f1_11f1_b605_d019,
    0x923f_82a4_af19_4f9b,
    0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242,
    0x1283_5b01_4570_6fbe,
    0x2431_85be_4ee4_b28c,
    0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f,
    0x80de_b1fe_3b16_96b1,
    0x9bdc_06a7_25c7_1235,
    0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2,
    0xefbe_4786_384f_25e3,
    0x0fc1_9dc6_8b8c_d5b5,
    0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275,
    0x4a74_84aa_6ea6_e483,
    0x5cb0_a9dc_bd41_fbd4,
    0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab,
    0xa831_c66d_2db4_3210,
    0xb003_27c8_98fb_213f,
    0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2,
    0xd5a7_9147_930a_a725,
    0x06ca_6351_e003_826f,
    0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc,
    0x2e1b_2138_5c26_c926,
    0x4d2c_6dfc_5ac4_2aed,
    0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de,
    0x766a_0abb_3c77_b2a8,
    0x81c2_c92e_47ed_aee6,
    0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364,
    0xa81a_664b_bc42_3001,
    0xc24b_8b70_d0f8_9791,
    0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218,
    0xd699_0624_5565_a910,
    0xf40e_3585_5771_202a,
    0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8,
    0x1e37_6c08_5141_ab53,
    0x2748_774c_df8e_eb99,
    0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63,
    0x4ed8_aa4a_e341_8acb,
    0x5b9c_ca4f_7763_e373,
    0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc,
    0x78a5_636f_4317_2f60,
    0x84c8_7814_a1f0_ab72,
    0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28,
    0xa450_6ceb_de82_bde9,
    0xbef9_a3f7_b2c6_7915,
    0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c,
    0xd186_b8c7_21c0_c207,
    0xeada_7dd6_cde0_eb1e,
    0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba,
    0x0a63_7dc5_a2c8_98a6,
    0x113f_9804_bef9_0dae,
    0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84,
    0x32ca_ab7b_40c7_2493,
    0x3c9e_be0a_15c9_bebc,
    0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6,
    0x597f_299c_fc65_7e2a,
    0x5fcb_6fab_3ad6_faec,
    0x6c44_198c_4a47_5817,
];
