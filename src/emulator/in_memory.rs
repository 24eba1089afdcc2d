//! The emulator without sockets: HTTP requests in, HTTP answers out, on the caller's thread.
//!
//! For simulations, which play the network and the clock themselves. State, handlers, limits and the judge
//! are those of the served emulator; what is missing is what happens around a handler: the faults of
//! connections and the delays are the simulation's own, and Connect events are not delivered.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::Value;

use super::{
    directory, server,
    state::{Setup, SharedWorld, World},
    templates,
    time::Time,
};
use crate::clock::SharedClock;

/// An emulator that is a value.
#[derive(Debug, Clone)]
pub struct InMemory {
    world: SharedWorld,
    time: Time,
}

/// An envelope that was made, as far as a check of duplicates needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Its subject.
    pub subject: String,
    /// The client's own id of the create.
    pub transaction_id: Option<String>,
    /// Its id.
    pub envelope_id: String,
    /// Whether it was voided since.
    pub is_voided: bool,
}

impl InMemory {
    /// The address under which clients believe to reach it.
    pub const ORIGIN: &'static str = "https://localhost";
    /// The first integration key.
    pub const INTEGRATION_KEY: &'static str = directory::INTEGRATION_KEY;
    /// The user who has consented to it.
    pub const USER: &'static str = directory::USER;
    /// A template of that user's account.
    pub const TEMPLATE: &'static str = templates::TEMPLATE;

    /// A fresh one. Its first integration key has no public key yet: the control call `keys` registers one.
    pub fn new(seed: u64, clock: SharedClock) -> Self {
        let time = Time::new(clock);
        let setup = Setup {
            seed,
            faults: Vec::new(),
            public_keys: [Vec::new(), Vec::new()],
            connect_hmac_key: String::new(),
            origin: Self::ORIGIN.to_owned(),
        };
        Self { world: SharedWorld::new(World::new(Arc::new(setup), time.now())), time }
    }

    /// What is served.
    pub(super) fn of(world: SharedWorld, time: Time) -> Self {
        Self { world, time }
    }

    /// Answers one vendor request, at once and as one step.
    pub fn vendor(&self, request: Request<Bytes>) -> Response<Bytes> {
        server::step(&self.world, &self.time, request)
    }

    /// Answers one control call, by its path below `/_test/`.
    pub fn control(&self, method: Method, path: &str, body: &Value) -> Response<Bytes> {
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = method;
        *request.uri_mut() = format!("/_test/{path}").parse().expect("a path of a test is a path");
        server::control_step(&self.world, &self.time, request)
    }

    /// Every envelope there is, in the order of their making.
    pub fn made(&self) -> Vec<Made> {
        let world = self.world.lock();
        let book = &world.envelopes;
        book.order
            .iter()
            .filter_map(|id| book.envelopes.get(id))
            .map(|envelope| Made {
                subject: envelope.subject.clone(),
                transaction_id: envelope.transaction.clone(),
                envelope_id: envelope.id.clone(),
                is_voided: envelope.voided_reason.is_some(),
            })
            .collect()
    }
}
