use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_second_stream_of_a_name_ends_the_first_and_waits_for_its_end() {
    let sessions = Arc::new(Sessions::default());
    let name: ServerName = "EXB1".parse().unwrap();
    let first = sessions.begin(&name).await;
    first.greeted();
    assert!(sessions.is_connected(&name));
    let second = {
        let (sessions, name) = (sessions.clone(), name.clone());
        tokio::spawn(async move { sessions.begin(&name).await })
    };
    tokio::time::timeout(LIMIT, first.replaced()).await.unwrap();
    tokio::task::yield_now().await;
    assert!(
        !second.is_finished(),
        "something of the first is still under way"
    );
    drop(first);
    let second = tokio::time::timeout(LIMIT, second).await.unwrap().unwrap();
    assert!(
        !sessions.is_connected(&name),
        "the second has not been let in yet"
    );
    second.greeted();
    assert!(sessions.is_connected(&name));
    drop(second);
    assert!(sessions.connected().is_empty());
}

#[tokio::test]
async fn of_many_streams_of_a_name_the_newest_stays() {
    let sessions = Arc::new(Sessions::default());
    let name: ServerName = "EXB1".parse().unwrap();
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let (sessions, name) = (sessions.clone(), name.clone());
            tokio::spawn(async move {
                let session = sessions.begin(&name).await;
                session.greeted();
                let replaced = tokio::time::timeout(LIMIT, session.replaced())
                    .await
                    .is_ok();
                (replaced, sessions, name)
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let last = sessions.begin(&name).await;
    last.greeted();
    for stream in streams {
        assert!(stream.await.unwrap().0);
    }
    assert!(sessions.is_connected(&name));
}

#[tokio::test]
async fn waking_before_anybody_waits_is_not_lost() {
    let sessions = Arc::new(Sessions::default());
    let name: ServerName = "EXB1".parse().unwrap();
    let session = sessions.begin(&name).await;
    sessions.wake(std::slice::from_ref(&name));
    tokio::time::timeout(LIMIT, session.woken()).await.unwrap();
}

#[test]
fn what_is_not_written_down_is_told_again_and_nothing_else_is() {
    let mut order = Order {
        run: RunId(uuid::Uuid::from_u128(1)),
        fence: 7,
        begun: false,
        through: 0,
        unwind: None,
        journaled: 0,
        journaled_unwind: None,
    };
    let mut telling = Telling::default();
    let mut told = |order: &Order, again| {
        let orders = [order.clone()];
        let lacks = telling.lacks(&orders, again);
        let told: Vec<String> = lacks
            .into_iter()
            .map(|lacks| match lacks {
                Lacks::Assignment(_) => "assignment".to_owned(),
                Lacks::Message(Message::Advance(one)) => format!("advance {}", one.through),
                Lacks::Message(Message::Unwind(one)) => {
                    format!("unwind {} {}", one.down_to, one.last)
                }
                Lacks::Message(other) => format!("{other:?}"),
            })
            .collect();
        (told.join(", "), telling.is_unheard())
    };
    let says = |text: &str, unheard| (text.to_owned(), unheard);
    assert_eq!(told(&order, false), says("assignment", true));
    assert_eq!(told(&order, false), says("", true));
    assert_eq!(told(&order, true), says("assignment", true));
    order.begun = true;
    assert_eq!(told(&order, true), says("", false));
    order.through = 3;
    assert_eq!(told(&order, false), says("advance 3", true));
    (order.through, order.journaled) = (5, 3);
    assert_eq!(told(&order, false), says("advance 5", true));
    assert_eq!(told(&order, true), says("advance 5", true));
    order.journaled = 5;
    assert_eq!(told(&order, true), says("", false));
    let unwind = |down_to, last| Some(Unwinding { down_to, last });
    order.unwind = unwind(4, false);
    assert_eq!(told(&order, false), says("unwind 4 false", true));
    order.journaled_unwind = unwind(4, false);
    assert_eq!(told(&order, true), says("", false));
    order.unwind = unwind(4, true);
    assert_eq!(told(&order, false), says("unwind 4 true", true));
    assert_eq!(told(&order, true), says("unwind 4 true", true));
    // An agent that goes further down than it was asked has heard that too.
    order.journaled_unwind = unwind(2, true);
    assert_eq!(told(&order, true), says("", false));
}
