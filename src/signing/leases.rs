//! The lease of a view: how long it holds, whose view it is of, and who may have another made meanwhile (rule L2).
//!
//! Must ask nobody: a signing and the time decide.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::later,
    domain::{LiveView, SignerId, SignerStatus, Signing, SigningStatus, ViewKind},
    signing::{Error, first_view::coming_view, is_past},
};

/// How long a view can be opened (eSignature REST API, EnvelopeViews: createRecipient).
pub(super) const VIEW_LIFE: Duration = Duration::from_secs(300);

/// No lease of a view ends later from any moment on, by clocks that differ a little.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// Who wants a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The caller, who decides for themselves and may replace a view they were given, once it is there.
    Caller,
    /// A click on a link, which must not throw out a signer at work.
    Click,
    /// The answer to a create that is repeated, which asks for no view in particular: it throws out nobody, and
    /// of several that are answered at once one gets it.
    Late,
}

/// A view from its first moment on: for as long as it can be opened.
pub(super) fn fresh(signer: SignerId, minted_at: Timestamp, opener: Opener) -> LiveView {
    let kind = if opener == Opener::Click { ViewKind::InUse } else { ViewKind::Given };
    LiveView { kind, signer, minted_at, until: later(minted_at, VIEW_LIFE) }
}

/// Whether two are of one view, which is known by its signer and its name; its lease may have been prolonged.
pub(super) fn is_same(one: &LiveView, other: &LiveView) -> bool {
    one.signer == other.signer && one.minted_at == other.minted_at
}

/// The view of a signing that may be open now. None lives for longer than its life from any moment on: a lease that
/// does was written by a clock that has been set back since.
pub(super) fn live_view(signing: &Signing, now: Timestamp) -> Option<&LiveView> {
    let longest = later(now, LONGEST_LEASE);
    signing.live_view.as_ref().filter(|view| view.until > now && view.until <= longest)
}

/// The view that somebody may be at now, whoever of the signers, or that is on its way. What the caller was given may never
/// have been opened, unless its own signer is in session.
pub fn view_in_use(signing: &Signing, now: Timestamp) -> Option<&LiveView> {
    let is_at_work = |signer| signing.signer(signer).is_some_and(|it| it.status == SignerStatus::InSession);
    live_view(signing, now).filter(|view| view.kind != ViewKind::Given || is_at_work(view.signer))
}

/// Whether this signer may have a view now, by our clock and by the upstream's. When the time that the caller gave is over,
/// nobody may, however late the upstream ends the envelope: the links lead nowhere then, either.
pub(super) fn may_open(
    signing: &Signing,
    signer: SignerId,
    opener: Opener,
    (now, upstreams_now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    let person = signing.signer(signer).ok_or(Error::NotFound)?;
    let not_ready = Error::NotReady { status: person.status, signing: signing.status };
    match signing.status {
        SigningStatus::Creating | SigningStatus::Uncertain => return Err(not_ready),
        SigningStatus::Open if is_past(signing, upstreams_now) => return Err(Error::TimeOver),
        SigningStatus::Open => {}
        closed => return Err(Error::Closed(closed)),
    }
    match person.status {
        SignerStatus::Ready | SignerStatus::InSession => {}
        // Only the upstream knows when it is their turn, and not everybody's events tell of it.
        SignerStatus::Waiting if signing.may_ask(person) => {}
        SignerStatus::AuthFailed | SignerStatus::Declined | SignerStatus::Signed | SignerStatus::Waiting => {
            return Err(not_ready);
        }
    }
    let in_the_way = match opener {
        Opener::Caller => coming_view(signing, now),
        Opener::Click => view_in_use(signing, now),
        Opener::Late => live_view(signing, now),
    };
    in_the_way.map_or(Ok(()), |view| Err(Error::ViewLive { until: view.until }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::earlier,
        domain::{Signer, sample},
        signing::first_view::{coming_lease, view_to_tell},
    };

    #[test]
    fn l2_a_click_ends_no_session_of_another_signer() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let other = SignerId::from_uuid(Uuid::from_u128(4));
        signing.signers.push(Signer { id: other, ..sample::person(SignerStatus::Ready) });
        let (clicks, now) = (signing.signers[0].id, signing.created_at);
        signing.live_view = Some(fresh(other, now, Opener::Caller));
        let may = |signing: &Signing, opener| may_open(signing, clicks, opener, (now, now)).is_ok();
        assert!(may(&signing, Opener::Click), "what the caller was given is not open yet");
        signing.signers[1].status = SignerStatus::InSession;
        assert!(!may(&signing, Opener::Click) && may(&signing, Opener::Caller));
        // Nor does it matter that the one who clicks has been in session, if nobody is at the view.
        signing.signers[0].status = SignerStatus::InSession;
        signing.signers[1].status = SignerStatus::Ready;
        assert!(may(&signing, Opener::Click));
    }

    #[test]
    fn l2_nobody_has_a_view_made_while_another_is_on_its_way() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (signer, now) = (signing.signers[0].id, signing.created_at);
        for coming in [Opener::Caller, Opener::Click, Opener::Late] {
            let lease = coming_lease(signer, now, coming);
            signing.live_view = Some(lease.clone());
            for opener in [Opener::Caller, Opener::Click, Opener::Late] {
                let refused = may_open(&signing, signer, opener, (now, now));
                assert!(
                    matches!(refused, Err(Error::ViewLive { until }) if until == lease.until),
                    "{opener:?}"
                );
                let over = may_open(&signing, signer, opener, (lease.until, now));
                assert!(over.is_ok(), "{opener:?}: it is over");
            }
        }
        for opener in [Opener::Caller, Opener::Click, Opener::Late] {
            signing.live_view = Some(fresh(signer, now, opener));
            assert!(
                may_open(&signing, signer, Opener::Caller, (now, now)).is_ok(),
                "{opener:?}: it is there"
            );
        }
    }

    /// How long its lease is says nothing of it: another that is as long is no view on its way.
    #[test]
    fn l2_a_view_is_on_its_way_until_it_is_here_and_no_other_is() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (signer, now) = (signing.signers[0].id, signing.created_at);
        for opener in [Opener::Caller, Opener::Click, Opener::Late] {
            signing.live_view = Some(coming_lease(signer, now, opener));
            let may_be_told = view_to_tell(&signing, now).is_some();
            assert_eq!(may_be_told, opener != Opener::Click, "no answer has a click's");
        }
        let coming = coming_lease(signer, now, Opener::Late);
        signing.live_view = Some(LiveView { kind: ViewKind::InUse, ..coming });
        assert_eq!(coming_view(&signing, now), None);
        assert!(view_in_use(&signing, now).is_some());
        let longer = LiveView { until: later(coming.until, Duration::from_secs(60)), ..coming };
        signing.live_view = Some(longer.clone());
        assert_eq!(coming_view(&signing, now), Some(&longer));
        signing.live_view = Some(fresh(signer, now, Opener::Late));
        assert_eq!((coming_view(&signing, now), view_in_use(&signing, now)), (None, None));
    }

    #[test]
    fn nobody_has_a_view_made_once_the_callers_time_is_over_by_the_upstreams_clock() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (signer, end) = (signing.signers[0].id, signing.created_at);
        let (before, now) = (earlier(end, Duration::from_secs(1)), later(end, Duration::from_secs(86_400)));
        signing.expires_at = Some(end);
        for opener in [Opener::Caller, Opener::Click, Opener::Late] {
            assert!(
                may_open(&signing, signer, opener, (now, before)).is_ok(),
                "{opener:?}: our clock is ahead"
            );
            let refused = may_open(&signing, signer, opener, (before, end));
            assert!(matches!(refused, Err(Error::TimeOver)), "{opener:?}");
        }
        signing.status = SigningStatus::Expired;
        let closed = may_open(&signing, signer, Opener::Caller, (end, end));
        assert!(matches!(closed, Err(Error::Closed(SigningStatus::Expired))), "how it ended is told");
    }
}
