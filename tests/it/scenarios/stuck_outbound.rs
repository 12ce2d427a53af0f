//! Q268494.

use crate::lab_run::play;

#[test]
fn where_a_recalculation_says_falsely_that_it_succeeded_no_mail_is_moved() {
    let (good, report) = play("stuck-outbound", "--variant false-success --messages 20");
    assert!(good, "{report:?}");
    assert!(
        report.rollout.contains("its effect is not to be seen"),
        "{report:?}"
    );
    assert_eq!((report.restarts, report.held), (0, 0), "{report:?}");
    assert!(report.symptom_after >= report.symptom_before, "{report:?}");
}
