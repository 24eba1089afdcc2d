//! Which page a signer gets: a pure function of the facts.

use jiff::Timestamp;

use crate::{
    domain::{Claim, Mode, Signer, SignerStatus, Signing, SigningStatus},
    public::pages::{Details, Invitation, Page, Pause, Preparing},
    signing::{LinkState, Queued, view_in_use},
};

/// The page for a signer who opens a link.
pub(super) fn of_link(signing: &Signing, signer: &Signer, now: Timestamp) -> Page {
    match signing.status {
        SigningStatus::Completed => Page::Completed,
        SigningStatus::Creating | SigningStatus::Uncertain => Page::Creating(Preparing::Now),
        SigningStatus::Declined if signer.status == SignerStatus::Declined => Page::Declined,
        SigningStatus::Declined => Page::DeclinedByOther,
        SigningStatus::Expired => Page::Expired,
        SigningStatus::Failed => Page::Failed,
        SigningStatus::Voided => Page::Voided,
        SigningStatus::Open => of_signer(signing, signer, now),
    }
}

/// Adds the place in line of a create that is under way to its page: a person who stands before it can say so.
pub(super) fn in_line(page: Page, queued: Option<Queued>) -> Page {
    match (page, queued) {
        (Page::Creating(_), Some(Queued::Behind)) => Page::Creating(Preparing::Behind),
        (Page::Creating(_), Some(Queued::First)) => Page::Creating(Preparing::First),
        (page, _) => page,
    }
}

/// The page of a link that leads nowhere any more, whatever the signing is.
pub(super) const fn of_link_over(state: LinkState) -> Page {
    match state {
        LinkState::Expired => Page::LinkExpired,
        LinkState::Live | LinkState::Revoked => Page::Revoked,
    }
}

fn of_signer(signing: &Signing, signer: &Signer, now: Timestamp) -> Page {
    match signer.status {
        SignerStatus::AuthFailed => Page::AuthFailed,
        SignerStatus::Declined => Page::Declined,
        SignerStatus::InSession | SignerStatus::Ready => {
            let again = signer.status == SignerStatus::InSession;
            match view_in_use(signing, now) {
                Some(view) => elsewhere(view.until, now),
                None => Page::Ready(Invitation { again, sms: signer.sms_auth, refused: false }),
            }
        }
        // That all of ours have signed does not make it complete: a template may bring others, of whom we know nothing.
        SignerStatus::Signed => {
            let others = signing.signers.iter().any(|other| other.status != SignerStatus::Signed);
            Page::Signed { others }
        }
        SignerStatus::Waiting => Page::Waiting { may_ask: signing.may_ask(signer) },
    }
}

/// The page of a lease that somebody else holds.
pub(super) fn elsewhere(until: Timestamp, now: Timestamp) -> Page {
    Page::Elsewhere { minutes: minutes(until, now) }
}

/// The page of a signer whose new name cannot be asked for before then.
pub(super) fn renamed(until: Timestamp, now: Timestamp) -> Page {
    Page::Renamed { minutes: minutes(until, now) }
}

fn minutes(until: Timestamp, now: Timestamp) -> u64 {
    let seconds = u64::try_from(until.duration_since(now).as_secs()).unwrap_or(0);
    seconds.div_ceil(60).max(1)
}

/// Where a browser that came back goes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// One of our own pages.
    Page(Page),
    /// The caller's site.
    Site,
}

/// What comes after a return: the facts first, then what the browser claimed. A claim chooses a page and
/// nothing else (rule F1). `is_over`: whether the caller's time for the signing is over.
pub(super) fn after_return(
    signing: &Signing,
    signer: &Signer,
    claim: Claim,
    is_over: bool,
    now: Timestamp,
) -> Next {
    let is_settled = signing.status.is_terminal() || signer.status.is_terminal();
    match pause(claim) {
        Some(pause) if !is_settled && !is_over => Next::Page(Page::Resume(pause)),
        _ if signer.return_url.is_some() => Next::Site,
        _ if is_settled => Next::Page(of_link(signing, signer, now)),
        _ => Next::Page(unconfirmed(signing, signer, claim, now)),
    }
}

/// The page while the upstream has confirmed nothing, and there is no site to go to.
fn unconfirmed(signing: &Signing, signer: &Signer, claim: Claim, now: Timestamp) -> Page {
    match claim {
        Claim::AccessCodeFailed | Claim::IdCheckFailed => Page::AuthFailed,
        Claim::Decline | Claim::SigningComplete | Claim::ViewingComplete => Page::Pending { long: false },
        Claim::FaxPending => Page::FaxPending,
        Claim::Cancel | Claim::Exception | Claim::SessionTimeout | Claim::TtlExpired | Claim::Unknown => {
            of_link(signing, signer, now)
        }
    }
}

const fn pause(claim: Claim) -> Option<Pause> {
    match claim {
        Claim::Cancel => Some(Pause::Cancel),
        Claim::Exception => Some(Pause::Exception),
        Claim::SessionTimeout => Some(Pause::Timeout),
        Claim::TtlExpired => Some(Pause::Ttl),
        Claim::AccessCodeFailed
        | Claim::Decline
        | Claim::FaxPending
        | Claim::IdCheckFailed
        | Claim::SigningComplete
        | Claim::Unknown
        | Claim::ViewingComplete => None,
    }
}

/// What a page says besides, as far as the signing has it.
pub(super) fn details<'a>(signing: &'a Signing, signer: &'a Signer) -> Details<'a> {
    Details {
        person: Some(signer.name.reveal().as_str()).filter(|name| !name.is_empty()),
        reference: signing.reference.as_deref(),
        test: signing.mode == Mode::Test,
        ..Details::default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::domain::{LiveView, ViewKind, sample};

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn page(status: SigningStatus, signer: SignerStatus) -> Page {
        let signing = sample::signing(status, signer);
        of_link(&signing, &signing.signers[0], now())
    }

    #[test]
    fn every_state_has_a_page_and_only_a_turn_has_the_button() {
        for status in SigningStatus::ALL {
            for signer in SignerStatus::ALL {
                let invites = matches!(page(status, signer), Page::Ready(_));
                let may_sign = status == SigningStatus::Open
                    && matches!(signer, SignerStatus::Ready | SignerStatus::InSession);
                assert_eq!(invites, may_sign, "{status:?} {signer:?}");
            }
        }
        assert_eq!(page(SigningStatus::Declined, SignerStatus::Ready), Page::DeclinedByOther);
        let mut behind = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        behind.signers.push(Signer { order: 2, ..sample::person(SignerStatus::Waiting) });
        assert_eq!(of_link(&behind, &behind.signers[1], now()), Page::Waiting { may_ask: false });
        assert_eq!(page(SigningStatus::Uncertain, SignerStatus::Waiting), Page::Creating(Preparing::Now));
        assert_eq!(page(SigningStatus::Open, SignerStatus::AuthFailed), Page::AuthFailed);
        let mut denied = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        assert!(denied.deny_turn(denied.signers[0].id, SignerStatus::Ready, now()));
        assert_eq!(of_link(&denied, &denied.signers[0], now()), Page::Waiting { may_ask: true });
    }

    #[test]
    fn a_person_can_say_that_they_wait_only_while_that_changes_something() {
        let creating = || page(SigningStatus::Creating, SignerStatus::Waiting);
        assert_eq!(in_line(creating(), None), Page::Creating(Preparing::Now));
        assert_eq!(in_line(creating(), Some(Queued::Behind)), Page::Creating(Preparing::Behind));
        assert_eq!(in_line(creating(), Some(Queued::First)), Page::Creating(Preparing::First));
        assert_eq!(in_line(Page::Completed, Some(Queued::Behind)), Page::Completed);
    }

    #[test]
    fn signed_says_whether_others_are_missing() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Signed);
        assert_eq!(of_link(&signing, &signing.signers[0], now()), Page::Signed { others: false });
        signing.signers.push(sample::person(SignerStatus::Ready));
        assert_eq!(of_link(&signing, &signing.signers[0], now()), Page::Signed { others: true });
    }

    #[test]
    fn everyone_has_signed_only_when_the_upstream_says_that_it_is_complete() {
        for status in SigningStatus::ALL {
            let is_complete = page(status, SignerStatus::Signed) == Page::Completed;
            assert_eq!(is_complete, status == SigningStatus::Completed, "{status:?}");
        }
    }

    #[test]
    fn l2_a_live_view_hides_the_button_until_it_is_over() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let until = now() + SignedDuration::from_secs(181);
        let signer = signing.signers[0].id;
        let view = |kind| Some(LiveView { kind, signer, minted_at: now(), until });
        signing.live_view = view(ViewKind::InUse);
        assert_eq!(of_link(&signing, &signing.signers[0], now()), Page::Elsewhere { minutes: 4 });
        assert!(matches!(of_link(&signing, &signing.signers[0], until), Page::Ready(_)));
        signing.live_view = view(ViewKind::Given);
        assert!(
            matches!(of_link(&signing, &signing.signers[0], now()), Page::Ready(_)),
            "never opened, maybe"
        );
        signing.signers[0].status = SignerStatus::InSession;
        assert!(matches!(of_link(&signing, &signing.signers[0], now()), Page::Elsewhere { .. }));
    }

    #[test]
    fn l3_what_can_be_resumed_is_resumed_and_everything_else_goes_to_the_site() {
        for claim in Claim::ALL {
            let signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
            let next = after_return(&signing, &signing.signers[0], *claim, false, now());
            let resumes =
                matches!(claim, Claim::Cancel | Claim::Exception | Claim::SessionTimeout | Claim::TtlExpired);
            assert_eq!(matches!(next, Next::Page(Page::Resume(_))), resumes, "{claim:?}");
            assert_eq!(next == Next::Site, !resumes, "{claim:?}");
        }
    }

    #[test]
    fn f1_a_claim_never_makes_a_page_say_signed() {
        for claim in Claim::ALL {
            for signer in SignerStatus::ALL {
                let mut signing = sample::signing(SigningStatus::Open, signer);
                signing.signers[0].return_url = None;
                let next = after_return(&signing, &signing.signers[0], *claim, false, now());
                let says_signed = matches!(next, Next::Page(Page::Completed | Page::Signed { .. }));
                assert_eq!(says_signed, signer == SignerStatus::Signed, "{claim:?} {signer:?}");
            }
        }
    }

    #[test]
    fn facts_go_before_claims() {
        let mut signing = sample::signing(SigningStatus::Completed, SignerStatus::Signed);
        assert_eq!(after_return(&signing, &signing.signers[0], Claim::TtlExpired, false, now()), Next::Site);
        signing.signers[0].return_url = None;
        let next = after_return(&signing, &signing.signers[0], Claim::Decline, false, now());
        assert_eq!(next, Next::Page(Page::Completed));
    }

    #[test]
    fn l3_past_the_callers_time_nothing_is_resumed() {
        let signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
        assert_eq!(after_return(&signing, &signing.signers[0], Claim::Cancel, true, now()), Next::Site);
    }
}
