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
