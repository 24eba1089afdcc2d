//! Misbehaviour on demand: what the vendor does on its bad days, by name.
//!
//! A fault is armed on requests by method and by how their path ends, with a chance and a count.
//! Each fault draws from its own generator, seeded from the emulator's seed and the fault's number,
//! one draw a matching request (or Connect event, when it happens): the same seed and the same order of
//! requests give the same faults, whatever else is armed and however fast a receiver is.

use serde::{Deserialize, Serialize};

/// One armed fault, in the control interface and in a plan file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: Kind,
    /// Only on this method; any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only on requests whose path ends so; any, if absent. For the `event_…` faults: the path of
    /// the receiver's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The chance, 0 to 1, that a matching request is hit.
    #[serde(default = "always")]
    pub rate: f64,
    /// How often it fires at most; without end, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The HTTP status of `status`, `html` and `rate_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long: `delay`, `stall`, `event_delay`, `list_lag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `rate_limit`: seconds until `X-RateLimit-Reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_s: Option<u64>,
}

fn always() -> f64 {
    1.0
}

/// The faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The work is done, then the connection is cut instead of answering.
    CommitThenDrop,
    /// The work is done at once, and the answer is late.
    Delay,
    /// A delivery of a Connect event carries a wrong digest; a retry is drawn anew.
    EventBadSignature,
    /// A Connect event is late.
    EventDelay,
    /// A Connect event is delivered twice.
    EventDouble,
    /// A Connect event is overtaken by the next one, if that happens within two seconds.
    EventReorder,
    /// An HTML page where JSON belongs.
    Html,
    /// New envelopes are not listed yet.
    ListLag,
    /// The vendor's limit error with its headers.
    RateLimit,
    /// The connection is cut before anything is done.
    ResetBeforeCommit,
    /// The request is read, nothing is done, and it is never answered.
    Stall,
    /// An HTTP status with the vendor's error body.
    Status,
    /// The bearer token of the request stops working, before its time.
    TokenDies,
    /// Half the body, then the connection is cut.
    Truncate,
}

impl Fault {
    /// Says what is wrong with the values, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(format!("`rate` is a chance from 0 to 1, not {}", self.rate));
        }
        if self.fault == Kind::Status && self.status.is_none() {
            return Err("the fault `status` needs `status`, the HTTP status to answer".to_owned());
        }
        if let Some(status) = self.status
            && !(200..=599).contains(&status)
        {
            return Err(format!("`status` is an HTTP status from 200 to 599, not {status}"));
        }
        let timed = [Kind::Delay, Kind::EventDelay, Kind::ListLag];
        if timed.contains(&self.fault) && self.delay_ms.is_none() {
            return Err("this fault needs `delay_ms`".to_owned());
        }
        Ok(())
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(|end| path.ends_with(end))
    }
}

/// A plan file: `[[fault]]` tables, or `[[faults]]`, as `GET /_test/faults` names the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(default, alias = "faults")]
    fault: Vec<Fault>,
}

/// Reads a plan file's text.
pub fn read_plan(text: &str) -> Result<Vec<Fault>, String> {
    let plan: Plan = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    for (number, fault) in plan.fault.iter().enumerate() {
        fault.check().map_err(|problem| format!("fault {}: {problem}", number + 1))?;
    }
    Ok(plan.fault)
}

/// The faults that are armed now.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    armed: Vec<Armed>,
    numbered: u64,
}

#[derive(Debug)]
struct Armed {
    number: u64,
    fault: Fault,
    random: fastrand::Rng,
    matched: u64,
    fired: u64,
}

/// One row of the list: a fault and how it went.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    id: u64,
    #[serde(flatten)]
    fault: &'a Fault,
    matched: u64,
    fired: u64,
}

impl Faults {
    /// Nothing armed.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, armed: Vec::new(), numbered: 0 }
    }

    /// Arms one more; answers its number.
    pub(super) fn arm(&mut self, fault: Fault) -> u64 {
        self.numbered += 1;
        let seed = self.seed ^ self.numbered.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.armed.push(Armed {
            number: self.numbered,
            fault,
            random: fastrand::Rng::with_seed(seed),
            matched: 0,
            fired: 0,
        });
        self.numbered
    }

    /// Disarms all; the numbers start again, so that a repeated plan repeats its draws.
    pub(super) fn disarm(&mut self) {
        self.armed.clear();
        self.numbered = 0;
    }

    /// What is armed, and how often each fired.
    pub(super) fn list(&self) -> Vec<Listed<'_>> {
        self.armed
            .iter()
            .map(|armed| Listed {
                id: armed.number,
                fault: &armed.fault,
                matched: armed.matched,
                fired: armed.fired,
            })
            .collect()
    }

    /// Whether a fault of this kind hits this request (or event); at most one does.
    pub(super) fn fire(&mut self, kind: Kind, method: &str, path: &str) -> Option<Fault> {
        for armed in &mut self.armed {
            let spent = armed.fault.count.is_some_and(|count| armed.fired >= count);
            if armed.fault.fault != kind || spent || !armed.fault.matches(method, path) {
                continue;
            }
            armed.matched += 1;
            // Drawn also at rate 1, so that a changed rate does not shift later draws.
            if armed.random.f64() < armed.fault.rate {
                armed.fired += 1;
                return Some(armed.fault.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind) -> Fault {
        Fault {
            fault: kind,
            method: None,
            path: None,
            rate: 1.0,
            count: None,
            status: None,
            delay_ms: None,
            reset_s: None,
        }
    }

    fn draws(seed: u64, also: bool) -> Vec<bool> {
        let mut faults = Faults::new(seed);
        faults.arm(Fault { rate: 0.3, path: Some("/envelopes".to_owned()), ..fault(Kind::Html) });
        if also {
            faults.arm(Fault { rate: 0.5, ..fault(Kind::Delay) });
        }
        (0..64)
            .map(|_| {
                let hit = faults.fire(Kind::Html, "POST", "/x/envelopes").is_some();
                faults.fire(Kind::Delay, "POST", "/x/envelopes");
                hit
            })
            .collect()
    }

    #[test]
    fn the_same_seed_and_order_give_the_same_faults_whatever_else_is_armed() {
        assert_eq!(draws(7, false), draws(7, true));
        assert_ne!(draws(7, false), draws(8, false));
        let hits = draws(7, false).iter().filter(|hit| **hit).count();
        assert!((8..32).contains(&hits), "{hits} of 64 at a rate of 0.3");
    }

    #[test]
    fn a_fault_keeps_to_its_method_its_path_and_its_count() {
        let mut faults = Faults::new(0);
        faults.arm(Fault {
            method: Some("post".to_owned()),
            path: Some("/oauth/token".to_owned()),
            count: Some(1),
            ..fault(Kind::Stall)
        });
        assert!(faults.fire(Kind::Stall, "GET", "/oauth/token").is_none());
        assert!(faults.fire(Kind::Stall, "POST", "/oauth/userinfo").is_none());
        assert!(faults.fire(Kind::Stall, "POST", "/oauth/token").is_some());
        assert!(faults.fire(Kind::Stall, "POST", "/oauth/token").is_none());
    }

    #[test]
    fn a_plan_may_be_named_as_the_list_of_what_is_armed_is() {
        let plan = |table: &str| read_plan(&format!("[[{table}]]\nfault = \"html\"\ncount = 2\n"));
        assert_eq!(plan("faults").unwrap(), plan("fault").unwrap());
        assert_eq!(plan("faults").unwrap().len(), 1);
        assert!(plan("failures").unwrap_err().contains("failures"));
        assert_eq!(read_plan("").unwrap(), []);
    }

    #[test]
    fn a_plan_with_an_unknown_name_is_refused_by_that_name() {
        let plan = "[[fault]]\nfault = \"delay\"\ndelay_ms = 5\n[[fault]]\nfault = \"status\"\nstatus = 503\nrate = 0.1\n";
        assert_eq!(read_plan(plan).unwrap().len(), 2);
        assert!(read_plan("[[fault]]\nfault = \"explode\"\n").unwrap_err().contains("explode"));
        assert!(read_plan("[[fault]]\nfault = \"html\"\nrating = 1\n").unwrap_err().contains("rating"));
        assert!(read_plan("[[fault]]\nfault = \"html\"\nrate = 7.0\n").unwrap_err().contains("rate"));
        assert!(read_plan("[[fault]]\nfault = \"status\"\n").unwrap_err().contains("status"));
    }
}
