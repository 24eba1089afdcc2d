//! Envelopes over real sockets, one file a subject.

mod access;
mod bulk;
mod composites;
mod conditions;
mod connect;
mod correction;
mod creates;
mod fields;
mod folders;
mod given;
mod layers;
mod lengths;
mod lists;
mod lives;
mod locks;
mod patterns;
mod reach;
mod samples;
mod senders;
mod tabs;
mod template_changes;
mod templates;
mod testing;
mod views;
mod visibility;
mod workflow;
