//! What this process knows stays in it when it dies (rule S1): no core is written, nobody but root may look
//! into its memory, and a panic says where it was and not what was in its hands.

use std::any::Any;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From here on: no core, whatever the limits of the shell say, and no tracing by other processes of this
/// user (`PR_SET_DUMPABLE`, prctl(2)). Root can still do both.
pub(super) fn keep_memory() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// From here on a panic is one line of the log.
pub(super) fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(place, thread, "panicked: {}", words(panic.payload()));
    }));
}

/// The words of a panic, if they are this program's own: a text that was put together at run time, as
/// `unwrap` and `assert_eq!` do it, may hold what it was put together from.
fn words(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(its text may hold anything, and is not shown)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_a_panic_shows_only_words_that_stand_in_the_program() {
        let panicked = |what: fn()| std::panic::catch_unwind(what).unwrap_err();
        assert_eq!(words(&*panicked(|| panic!("the invariant"))), "the invariant");
        let secret = panicked(|| {
            let refused: Result<u8, _> = "cs_secret".parse();
            assert!(refused.is_ok(), "{refused:?} of cs_secret{}", 1);
        });
        assert!(!words(&*secret).contains("cs_secret"), "{}", words(&*secret));
    }
}
