//! The emulator over real sockets, one file a subject.

mod consent;
mod platform;
mod resets;
mod surface;
