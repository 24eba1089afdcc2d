//! The one integration binary.

mod token_interleavings;
mod token_simulation;
