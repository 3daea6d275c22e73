//! Random numbers by address: what is drawn depends on a seed and an index, never on the thread.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Stream `index` of the ChaCha generator of `seed`.
pub fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}
