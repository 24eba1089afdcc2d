//! Random interleavings of operations, against a model simple enough to be believed.

use std::collections::BTreeMap;

use countersign::{
    domain::{Signing, SigningId, SigningStatus},
    store::{Begun, Error, SharedStore, Version, Work},
};
use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};

use crate::store::{Fixture, after, samples};

/// Keys that operations choose from: few, so that they meet.
const KEYS: u64 = 4;

#[derive(Debug, Clone)]
enum Step {
    Advance(i64),
    Begin { key: u64, lease: Option<i64> },
    Claim { lease: i64, limit: u32 },
    Forget { key: u64, stale: bool },
    Save { key: u64, stale: bool, status: SigningStatus, due: Option<i64> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..20_i64).prop_map(Step::Advance),
        (0..KEYS, proptest::option::of(0..30_i64)).prop_map(|(key, lease)| Step::Begin { key, lease }),
        (1..30_i64, 1..4_u32).prop_map(|(lease, limit)| Step::Claim { lease, limit }),
        (0..KEYS, any::<bool>()).prop_map(|(key, stale)| Step::Forget { key, stale }),
        (
            0..KEYS,
            proptest::bool::weighted(0.2),
            proptest::sample::select(SigningStatus::ALL.to_vec()),
            proptest::option::of(-5..20_i64)
        )
            .prop_map(|(key, stale, status, due)| Step::Save { key, stale, status, due }),
    ];
    vec(step, 1..40)
}

#[derive(Debug, Clone)]
struct Row {
    signing: Signing,
    version: Version,
    work: Option<Work>,
}

/// What the store should hold, by key.
#[derive(Default)]
struct Model {
    rows: BTreeMap<u64, Row>,
    now: i64,
}

impl Model {
    /// What may be claimed, oldest first.
    fn due(&self) -> Vec<(u64, Row)> {
        let now = after(self.now);
        let mut due: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| {
                row.work.is_some_and(|work| {
                    work.due_at <= now && work.leased_until.is_none_or(|until| until <= now)
                })
            })
            .map(|(key, row)| (*key, row.clone()))
            .collect();
        due.sort_by_key(|(_, row)| (row.work.map(|work| work.due_at), row.signing.id));
        due
    }

    async fn apply(&mut self, store: &SharedStore, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Advance(seconds) => self.now += seconds,
            Step::Begin { key, lease } => {
                let mut intent = samples::intent(key);
                intent.work = Work {
                    due_at: after(self.now),
                    leased_until: lease.map(|lease| after(self.now + lease)),
                    attempts: 0,
                };
                let (signing, work) = (intent.signing.clone(), Some(intent.work));
                match (store.begin(&intent).await.unwrap(), self.rows.get(&key)) {
                    (Begun::New(version), None) => {
                        self.rows.insert(key, Row { signing, version, work });
                    }
                    (Begun::Known(known), Some(row)) => {
                        prop_assert_eq!(
                            (&known.signing, known.version, known.work),
                            (&row.signing, row.version, row.work)
                        );
                    }
                    (begun, row) => prop_assert!(false, "{begun:?} for {row:?}"),
                }
            }
            Step::Claim { lease, limit } => {
                let until = after(self.now + lease);
                let claimed = store.claim(after(self.now), until, limit).await.unwrap();
                let ids: Vec<SigningId> = claimed.iter().map(|record| record.signing.id).collect();
                let due: Vec<_> = self.due().into_iter().take(limit as usize).collect();
                prop_assert_eq!(&ids, &due.iter().map(|(_, row)| row.signing.id).collect::<Vec<_>>());
                for ((key, _), record) in due.iter().zip(claimed) {
                    let row = self.rows.get_mut(key).unwrap();
                    row.version = Version(row.version.0 + 1);
                    row.work = row.work.map(|work| Work { leased_until: Some(until), ..work });
                    prop_assert_eq!((record.version, record.work), (row.version, row.work));
                }
            }
            Step::Forget { key, stale } => {
                let Some(row) = self.rows.get(&key) else { return Ok(()) };
                let from = Version(row.version.0 - u64::from(stale));
                let forgotten = store.forget(row.signing.id, from).await;
                prop_assert_eq!(forgotten.is_ok(), !stale);
                if !stale {
                    self.rows.remove(&key);
                }
            }
            Step::Save { key, stale, status, due } => {
                let Some(row) = self.rows.get_mut(&key) else { return Ok(()) };
                let mut signing = row.signing.clone();
                signing.status = status;
                signing.sequence += 1;
                let work =
                    due.map(|due| Work { due_at: after(self.now + due), leased_until: None, attempts: 1 });
                let mut change = samples::change(&signing, Version(row.version.0 - u64::from(stale)));
                change.work = work;
                match store.save(change).await {
                    Ok(version) if !stale => *row = Row { signing, version, work },
                    Err(Error::Conflict) if stale => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        Ok(())
    }

    async fn compare(&self, store: &SharedStore) -> Result<(), TestCaseError> {
        let mut unsettled = 0;
        for key in 0..KEYS {
            let stored = store.signing_by_key(&samples::caller(), samples::digest(key)).await.unwrap();
            let row = self.rows.get(&key);
            prop_assert_eq!(
                stored.map(|record| (record.signing, record.version, record.work)),
                row.map(|row| (row.signing.clone(), row.version, row.work))
            );
            unsettled += u64::from(row.is_some_and(|row| {
                matches!(row.signing.status, SigningStatus::Creating | SigningStatus::Uncertain)
            }));
        }
        prop_assert_eq!(store.unsettled().await.unwrap(), unsettled);
        Ok(())
    }
}

fn check(cases: u32, fixture: impl Fn() -> Option<Fixture>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&steps(), |steps| {
            let Some(fixture) = fixture() else { return Ok(()) };
            runtime.block_on(async {
                let store = fixture.open().await;
                let mut model = Model::default();
                for step in steps {
                    model.apply(&store, step).await?;
                }
                model.compare(&store).await
            })
        })
        .unwrap();
}

#[test]
fn sqlite_behaves_like_the_model() {
    check(64, || Some(Fixture::sqlite()));
}

#[test]
fn postgres_behaves_like_the_model() {
    check(12, Fixture::postgres);
}
