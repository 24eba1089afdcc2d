//! The emulator over real sockets, one file a subject.

mod consent;
mod judge;
mod late;
mod pages;
mod platform;
mod resets;
mod surface;
