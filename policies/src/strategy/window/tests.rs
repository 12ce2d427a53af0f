use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

fn window(days: &[Day], from: &str, to: &str, zone: &str) -> Window {
    Window {
        days: days.to_vec(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        zone: zone.parse().unwrap(),
    }
}

fn daily(from: &str, to: &str, zone: &str) -> Window {
    window(&Day::ALL, from, to, zone)
}

fn ms(utc: &str) -> i64 {
    format!("{utc}:00Z")
        .parse::<Timestamp>()
        .unwrap()
        .as_millisecond()
}

/// The openings between two times, in UTC.
fn openings(windows: &[Window], from: &str, to: &str) -> Vec<String> {
    let utc = |ms: i64| {
        let text = Timestamp::from_millisecond(ms).unwrap().to_string();
        text.strip_suffix(":00Z").unwrap().to_owned()
    };
    let (mut now, end) = (ms(from), ms(to));
    let mut found = Vec::new();
    while now < end {
        now = match opening(windows, now) {
            Opening::Open { until_ms } => {
                let until = until_ms.unwrap();
                found.push(format!("{} to {}", utc(now), utc(until)));
                until
            }
            Opening::Shut { opens_ms } => opens_ms,
        };
    }
    found
}

#[test]
fn without_windows_it_is_open_for_ever() {
    assert_eq!(opening(&[], 0), Opening::Open { until_ms: None });
    assert_eq!(longest_opening(&[]), None);
}

#[test]
fn a_window_is_open_from_its_first_millisecond_to_its_last() {
    let windows = [daily("22:00", "23:00", "UTC")];
    let (begins, ends) = (ms("2026-06-01T22:00"), ms("2026-06-01T23:00"));
    let open = Opening::Open {
        until_ms: Some(ends),
    };
    assert_eq!(
        opening(&windows, begins - 1),
        Opening::Shut { opens_ms: begins }
    );
    assert_eq!(opening(&windows, begins), open);
    assert_eq!(opening(&windows, ends - 1), open);
    assert_eq!(
        opening(&windows, ends),
        Opening::Shut {
            opens_ms: ms("2026-06-02T22:00")
        }
    );
}

#[test]
fn a_window_that_ends_before_it_begins_ends_on_the_next_day() {
    let windows = [window(&[Day::Sat, Day::Sun], "22:00", "04:00", "UTC")];
    assert_eq!(
        openings(&windows, "2026-06-05T00:00", "2026-06-12T00:00"),
        [
            "2026-06-06T22:00 to 2026-06-07T04:00",
            "2026-06-07T22:00 to 2026-06-08T04:00"
        ]
    );
    // On Saturday at three the window of Friday would be open, if there were one.
    assert_eq!(
        opening(&windows, ms("2026-06-06T03:00")),
        Opening::Shut {
            opens_ms: ms("2026-06-06T22:00")
        }
    );
}

#[test]
fn a_window_that_ends_as_it_begins_is_a_whole_day() {
    let windows = [window(&[Day::Wed], "06:00", "06:00", "UTC")];
    assert_eq!(
        openings(&windows, "2026-06-01T00:00", "2026-06-08T00:00"),
        ["2026-06-03T06:00 to 2026-06-04T06:00"]
    );
    assert_eq!(longest_opening(&windows), Some(Duration::from_secs(86_400)));
}

#[test]
fn a_window_goes_over_the_end_of_a_year() {
    // 31 December 2026 is a Thursday.
    let windows = [window(&[Day::Thu], "22:00", "04:00", "Europe/Oslo")];
    assert_eq!(
        openings(&windows, "2026-12-30T00:00", "2027-01-04T00:00"),
        ["2026-12-31T21:00 to 2027-01-01T03:00"]
    );
}

#[test]
fn windows_that_overlap_or_adjoin_are_one_opening() {
    let windows = [
        window(&[Day::Mon], "04:00", "05:00", "UTC"),
        window(&[Day::Mon], "02:00", "03:00", "UTC"),
        window(&[Day::Mon], "03:00", "04:30", "UTC"),
        // 05:00 to 06:00 of Monday in UTC, too.
        window(&[Day::Mon], "07:00", "08:00", "Europe/Oslo"),
    ];
    assert_eq!(
        openings(&windows, "2026-05-31T00:00", "2026-06-07T00:00"),
        ["2026-06-01T02:00 to 2026-06-01T06:00"]
    );
}

/// The nights of the documentation: 29 March and 25 October 2026, in Oslo.
#[test]
fn a_window_in_oslo_keeps_to_its_local_time_when_the_clock_is_set() {
    let march = |from, to| {
        openings(
            &[daily(from, to, "Europe/Oslo")],
            "2026-03-28T12:00",
            "2026-03-29T12:00",
        )
    };
    assert_eq!(
        march("01:00", "02:30"),
        ["2026-03-29T00:00 to 2026-03-29T01:00"]
    );
    assert_eq!(
        march("02:30", "04:00"),
        ["2026-03-29T01:00 to 2026-03-29T02:00"]
    );
    assert_eq!(
        march("02:00", "03:30"),
        ["2026-03-29T01:00 to 2026-03-29T01:30"]
    );
    assert_eq!(
        march("01:00", "02:00"),
        ["2026-03-29T00:00 to 2026-03-29T01:00"]
    );
    assert_eq!(
        march("22:00", "04:00"),
        ["2026-03-28T21:00 to 2026-03-29T02:00"]
    );
    let october = |from, to| {
        openings(
            &[daily(from, to, "Europe/Oslo")],
            "2026-10-24T12:00",
            "2026-10-25T12:00",
        )
    };
    assert_eq!(
        october("01:00", "02:30"),
        ["2026-10-24T23:00 to 2026-10-25T00:30"]
    );
    assert_eq!(
        october("02:30", "04:00"),
        ["2026-10-25T01:30 to 2026-10-25T03:00"]
    );
    assert_eq!(
        october("22:00", "04:00"),
        ["2026-10-24T20:00 to 2026-10-25T03:00"]
    );
}

#[test]
fn a_window_that_the_clock_leaves_out_is_next_open_a_day_later() {
    let windows = [daily("02:10", "02:50", "Europe/Oslo")];
    // The gap, and the overlap, in which 02:50 comes before the second 02:10.
    for (before, next) in [
        ("2026-03-28T12:00", "2026-03-30T00:10"),
        ("2026-10-24T12:00", "2026-10-26T01:10"),
    ] {
        assert_eq!(
            opening(&windows, ms(before)),
            Opening::Shut { opens_ms: ms(next) }
        );
    }
    // One that is only on Sundays is next open two weeks after the one before.
    let sundays = [window(&[Day::Sun], "02:10", "02:50", "Europe/Oslo")];
    assert_eq!(
        opening(&sundays, ms("2026-03-22T01:50")),
        Opening::Shut {
            opens_ms: ms("2026-04-05T00:10")
        }
    );
}

#[test]
fn a_window_in_new_york_keeps_to_its_local_time_when_the_clock_is_set() {
    let night =
        |from, to, begins, ends| openings(&[daily(from, to, "America/New_York")], begins, ends);
    // 8 March 2026: 02:00 EST is 07:00 UTC, and then 03:00 EDT.
    let march = |from, to| night(from, to, "2026-03-07T17:00", "2026-03-08T17:00");
    assert_eq!(
        march("01:30", "02:30"),
        ["2026-03-08T06:30 to 2026-03-08T07:00"]
    );
    assert_eq!(
        march("02:30", "03:30"),
        ["2026-03-08T07:00 to 2026-03-08T07:30"]
    );
    assert!(march("02:15", "02:45").is_empty());
    // 1 November 2026: 02:00 EDT is 06:00 UTC, and then 01:00 EST.
    let november = |from, to| night(from, to, "2026-10-31T17:00", "2026-11-01T17:00");
    assert_eq!(
        november("00:30", "01:30"),
        ["2026-11-01T04:30 to 2026-11-01T05:30"]
    );
    assert_eq!(
        november("01:30", "02:30"),
        ["2026-11-01T06:30 to 2026-11-01T07:30"]
    );
    assert!(november("01:15", "01:45").is_empty());
}

#[test]
fn a_clock_may_be_set_by_half_an_hour() {
    let night =
        |from, to, begins, ends| openings(&[daily(from, to, "Australia/Lord_Howe")], begins, ends);
    // 4 October 2026: 02:00 +10:30 is 15:30 UTC of the day before, and then 02:30 +11.
    let october = |from, to| night(from, to, "2026-10-03T03:00", "2026-10-04T03:00");
    assert_eq!(
        october("01:30", "02:15"),
        ["2026-10-03T15:00 to 2026-10-03T15:30"]
    );
    assert_eq!(
        october("02:15", "03:00"),
        ["2026-10-03T15:30 to 2026-10-03T16:00"]
    );
    assert!(october("02:00", "02:30").is_empty());
    // 5 April 2026: 02:00 +11 is 15:00 UTC of the day before, and then 01:30 +10:30.
    let april = |from, to| night(from, to, "2026-04-04T03:00", "2026-04-05T03:00");
    assert_eq!(
        april("01:00", "01:45"),
        ["2026-04-04T14:00 to 2026-04-04T14:45"]
    );
    assert_eq!(
        april("01:45", "02:15"),
        ["2026-04-04T15:15 to 2026-04-04T15:45"]
    );
}

#[test]
fn a_day_that_a_zone_left_out_has_no_window() {
    // Samoa went from Thursday 29 December 2011, 24:00 at -10, to Saturday 31 December, 00:00 at +14.
    let fridays = [window(&[Day::Fri], "10:00", "12:00", "Pacific/Apia")];
    assert_eq!(
        openings(&fridays, "2011-12-24T00:00", "2012-01-07T00:00"),
        ["2012-01-05T20:00 to 2012-01-05T22:00"]
    );
    let over = [window(
        &[Day::Thu, Day::Fri],
        "22:00",
        "04:00",
        "Pacific/Apia",
    )];
    assert_eq!(
        openings(&over, "2011-12-29T12:00", "2011-12-31T00:00"),
        ["2011-12-30T08:00 to 2011-12-30T14:00"]
    );
}

#[test]
fn seven_whole_days_never_shut() {
    let windows = [daily("09:00", "09:00", "UTC")];
    let now = ms("2026-06-01T00:00");
    let Opening::Open {
        until_ms: Some(until),
    } = opening(&windows, now)
    else {
        panic!("it is shut");
    };
    assert!(until >= now + i64::from(AHEAD) * 86_400_000, "{until}");
    assert_eq!(
        longest_opening(&windows),
        Some(Duration::from_secs(7 * 86_400))
    );
}

#[test]
fn the_longest_opening_is_that_of_windows_that_adjoin_over_the_end_of_the_week_too() {
    let longest = |windows: &[Window]| longest_opening(windows).unwrap().as_secs() / 60;
    let sunday = window(&[Day::Sun], "23:00", "00:00", "UTC");
    let monday = window(&[Day::Mon], "00:00", "00:20", "UTC");
    let oslo = window(&[Day::Mon], "00:20", "02:00", "Europe/Oslo");
    assert_eq!(longest(std::slice::from_ref(&sunday)), 60);
    assert_eq!(longest(&[monday.clone(), sunday.clone()]), 80);
    assert_eq!(longest(&[monday, sunday, oslo]), 100);
    let overlap = [
        window(&[Day::Tue], "10:00", "12:00", "UTC"),
        window(&[Day::Tue], "10:30", "11:00", "UTC"),
        window(&[Day::Tue], "11:59", "12:30", "UTC"),
    ];
    assert_eq!(longest(&overlap), 150);
    let six = Day::ALL[..6].to_vec();
    let week_but_sunday = Window {
        days: six,
        ..daily("00:00", "00:00", "UTC")
    };
    assert_eq!(longest(&[week_but_sunday]), 6 * 1440);
}

#[test]
fn windows_that_no_reader_lets_in_are_never_open() {
    // A record that was tampered with, or written by another release.
    let never = [window(&[], "10:00", "12:00", "UTC")];
    let now = ms("2026-06-01T11:00");
    assert_eq!(opening(&never, now), Opening::Shut { opens_ms: i64::MAX });
    assert_eq!(longest_opening(&never), Some(Duration::ZERO));
    for extreme in [i64::MIN, i64::MAX] {
        let shut = opening(&[daily("10:00", "12:00", "UTC")], extreme);
        assert_eq!(shut, Opening::Shut { opens_ms: i64::MAX });
    }
    for edge in [Timestamp::MIN, Timestamp::MAX] {
        let _never_panics = opening(&[daily("10:00", "12:00", "UTC")], edge.as_millisecond());
    }
}

#[test]
fn a_time_of_day_is_two_digits_and_two_digits() {
    for good in ["00:00", "09:05", "23:59"] {
        assert_eq!(good.parse::<LocalTime>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        ":",
        "9:05",
        "09:5",
        "24:00",
        "23:60",
        "-1:00",
        "+9:00",
        "09:05:00",
        "0905",
        "٠٩:٠٥",
    ] {
        assert_eq!(bad.parse::<LocalTime>(), Err(NotATime(bad.to_owned())));
    }
}

// The reference: minute by minute, from the instants at which clocks were set as `zdump -v` prints them, with
// nothing of the code under test.

/// A zone: its offset in minutes at the beginning, and from each of these times on.
type Clock = (&'static str, i32, &'static [(&'static str, i32)]);

const CLOCKS: [Clock; 6] = [
    ("UTC", 0, &[]),
    ("Asia/Kolkata", 330, &[]),
    (
        "Europe/Oslo",
        60,
        &[
            ("2026-03-29T01:00", 120),
            ("2026-10-25T01:00", 60),
            ("2027-03-28T01:00", 120),
            ("2027-10-31T01:00", 60),
        ],
    ),
    (
        "America/New_York",
        -300,
        &[
            ("2026-03-08T07:00", -240),
            ("2026-11-01T06:00", -300),
            ("2027-03-14T07:00", -240),
            ("2027-11-07T06:00", -300),
        ],
    ),
    (
        "Australia/Lord_Howe",
        660,
        &[
            ("2026-04-04T15:00", 630),
            ("2026-10-03T15:30", 660),
            ("2027-04-03T15:00", 630),
            ("2027-10-02T15:30", 660),
        ],
    ),
    // Its clocks are set at midnight.
    (
        "America/Havana",
        -300,
        &[
            ("2026-03-08T05:00", -240),
            ("2026-11-01T05:00", -300),
            ("2027-03-14T05:00", -240),
            ("2027-11-07T05:00", -300),
        ],
    ),
];

/// The local time of every minute of two years and a little before and after, in minutes since 1970.
struct Walls {
    /// The first minute, since 1970 UTC.
    first: i32,
    wall: Vec<i32>,
    /// The least that comes, now included.
    least: Vec<i32>,
    /// The most that was, now included.
    most: Vec<i32>,
}

fn minute(utc: &str) -> i32 {
    i32::try_from(ms(utc) / 60_000).unwrap()
}

fn walls(clock: usize) -> &'static Walls {
    static ALL: [OnceLock<Walls>; 6] = [const { OnceLock::new() }; 6];
    ALL[clock].get_or_init(|| {
        let (_, mut offset, set) = CLOCKS[clock];
        let (first, last) = (minute("2025-12-01T00:00"), minute("2028-02-01T00:00"));
        let mut set = set
            .iter()
            .map(|(at, offset)| (minute(at), *offset))
            .peekable();
        let wall: Vec<i32> = (first..last)
            .map(|now| {
                if let Some((_, then)) = set.next_if(|(at, _)| *at == now) {
                    offset = then;
                }
                now + offset
            })
            .collect();
        let mut least = wall.clone();
        for at in (0..least.len() - 1).rev() {
            least[at] = least[at].min(least[at + 1]);
        }
        let mut most = wall.clone();
        for at in 1..most.len() {
            most[at] = most[at].max(most[at - 1]);
        }
        Walls {
            first,
            wall,
            least,
            most,
        }
    })
}

/// A window of the reference: days as bits from Monday, minutes of the day, clock.
#[derive(Debug, Clone, Copy)]
struct Said {
    days: u8,
    from: i32,
    to: i32,
    clock: usize,
}

impl Said {
    fn window(self) -> Window {
        let time = |minutes: i32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days: Vec<Day> = (0..7)
            .filter(|day| self.days >> day & 1 == 1)
            .map(|day| Day::ALL[day])
            .collect();
        window(
            &days,
            &time(self.from),
            &time(self.to),
            CLOCKS[self.clock].0,
        )
    }

    /// When it begins and ends, in local minutes, if it begins on a day, counted from 1970.
    fn on(self, day: i32) -> Option<(i32, i32)> {
        // 1 January 1970 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        let over = if self.to <= self.from { 1440 } else { 0 };
        (self.days >> weekday & 1 == 1)
            .then_some((day * 1440 + self.from, day * 1440 + self.to + over))
    }

    /// Whether it names a local time.
    fn names(self, wall: i32) -> bool {
        let day = wall.div_euclid(1440);
        [day, day - 1].iter().any(|day| {
            self.on(*day)
                .is_some_and(|(from, to)| from <= wall && wall < to)
        })
    }

    /// Whether it is open: its beginning was for the last time, its end is still to come for the first.
    fn open(self, walls: &Walls, at: usize) -> bool {
        let day = walls.least[at].div_euclid(1440);
        [day, day - 1].iter().any(|day| {
            self.on(*day).is_some_and(|(from, to)| {
                from <= walls.least[at] && from < walls.least[at + 1] && walls.most[at] < to
            })
        })
    }
}

fn said() -> impl Strategy<Value = Said> {
    // Half of all times in the hours in which clocks are set.
    let time = || prop_oneof![0_i32..1440, 0_i32..240];
    (1_u8..128, time(), time(), 0..CLOCKS.len()).prop_map(|(days, from, to, clock)| Said {
        days,
        from,
        to,
        clock,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_years_are_open_and_shut_as_a_reference_says_minute_by_minute(
        said in prop::collection::vec(said(), 1..4),
        instants in prop::collection::vec(0_i64..2 * 365 * 86_400_000, 100),
    ) {
        let windows: Vec<Window> = said.iter().map(|said| said.window()).collect();
        let first = walls(0).first;
        let (begin, end) = (minute("2026-01-01T00:00"), minute("2028-01-01T00:00"));
        let index = |now: i32| usize::try_from(now - first).unwrap();
        let mut open = vec![false; walls(0).wall.len() - 1];
        for said in &said {
            let walls = walls(said.clock);
            for (at, open) in open.iter_mut().enumerate() {
                *open |= said.open(walls, at);
            }
        }
        let named = |at: usize| said.iter().any(|said| said.names(walls(said.clock).wall[at]));
        let mut now = begin;
        while now < end {
            let next = match opening(&windows, i64::from(now) * 60_000) {
                Opening::Open { until_ms } => {
                    let until = i32::try_from(until_ms.unwrap() / 60_000).unwrap();
                    prop_assert_eq!(until_ms.unwrap() % 60_000, 0);
                    prop_assert!(open[index(now)..index(until)].iter().all(|open| *open), "open {} to {}", now, until);
                    prop_assert!((index(now)..index(until)).all(named));
                    prop_assert!(!open[index(until)] || until >= now + AHEAD * 1440, "shut too early at {}", until);
                    until
                }
                Opening::Shut { opens_ms } => {
                    let opens = i32::try_from(opens_ms / 60_000).unwrap();
                    prop_assert_eq!(opens_ms % 60_000, 0);
                    prop_assert!(!open[index(now)..index(opens)].iter().any(|open| *open), "shut {} to {}", now, opens);
                    prop_assert!(open[index(opens)], "not open at {}", opens);
                    opens
                }
            };
            prop_assert!(next > now);
            now = next;
        }
        // At any millisecond it is as at the beginning of its minute.
        for instant in instants {
            let now = i64::from(begin) * 60_000 + instant;
            let minute = now - now.rem_euclid(60_000);
            prop_assert_eq!(opening(&windows, now), opening(&windows, minute));
        }
    }
}
