//! The sweeps of each shipped policy.

macro_rules! sweeps {
    ($policy:ident) => {
        mod $policy {
            use crate::policies::{Case, $policy};

            fn case() -> &'static Case {
                &$policy::CASE
            }

            #[test]
            fn a_run_that_nothing_disturbs_ends_well() {
                case().undisturbed();
            }

            #[test]
            fn killed_at_any_point_the_end_balances_share_0() {
                case().killed_anywhere(0, 2);
            }

            #[test]
            fn killed_at_any_point_the_end_balances_share_1() {
                case().killed_anywhere(1, 2);
            }

            #[test]
            fn killed_at_any_point_of_any_recovery_the_end_balances_share_0() {
                case().killed_in_recovery(0, 2);
            }

            #[test]
            fn killed_at_any_point_of_any_recovery_the_end_balances_share_1() {
                case().killed_in_recovery(1, 2);
            }

            #[test]
            fn killed_again_after_it_recovered_the_end_balances() {
                case().killed_again();
            }

            #[test]
            fn without_power_at_any_point_nothing_is_lost_and_service_comes_up() {
                case().power_lost();
            }

            #[test]
            fn every_order_twice_and_all_former_ones_again_change_nothing() {
                case().repeated();
            }
        }
    };
}

sweeps!(corrupt_message);
sweeps!(sent_not_removed);
sweeps!(sent_not_removed_heavy);
sweeps!(silent_loss);
sweeps!(stuck_message);
sweeps!(stuck_outbound_routing);
sweeps!(stuck_outbound_whole);
