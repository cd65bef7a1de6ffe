//! Provisioning on a cluster of three nats-servers.

use std::path::Path;
use std::time::Duration;

use choreography::Topology;
use choreography::connection;
use choreography_test::nats::{NatsServerBuilder, Routes, find_or_install};
use choreography_test::{NatsServer, free_port};

use crate::support::{TOPOLOGY, eventually, nats_options};

/// Returns the settings of three servers, and the port for clients of the first.
async fn cluster(data: &Path) -> ([NatsServerBuilder; 3], u16) {
    let program = find_or_install(|_| {}).await.unwrap();
    let (routes, clients) = ([(); 3].map(|()| free_port()), [(); 3].map(|()| free_port()));
    let server = |number: usize| {
        let others = (0..3).filter(|other| *other != number);
        let others = others.map(|other| format!("nats://127.0.0.1:{}", routes[other])).collect();
        let advertise = format!("127.0.0.1:{}", routes[number]);
        NatsServer::builder(&program)
            .port(clients[number])
            .monitor_port(free_port())
            .store_dir(data.join(format!("nats-{number}")))
            .routes(Routes { cluster: "test".to_owned(), port: routes[number], advertise, others })
    };
    ([0, 1, 2].map(server), clients[0])
}

#[tokio::test]
async fn provisioning_awaits_a_server_of_the_cluster_that_is_starting() {
    let data = std::env::temp_dir().join(format!("choreography-cluster-{}", std::process::id()));
    let ([first, second, third], port) = cluster(&data).await;
    let servers = tokio::try_join!(first.start(), second.start()).unwrap();
    let options = nats_options(format!("nats://127.0.0.1:{port}"));
    let (client, _) = connection::establish(&options, "tester", Duration::from_secs(10)).await.unwrap();
    let js = connection::jetstream(&client);

    eventually("the cluster has too few peers", || async {
        let config = async_nats::jetstream::stream::Config {
            name: "PROBE".to_owned(),
            num_replicas: 3,
            ..Default::default()
        };
        let created = js.create_stream(config).await;
        created.is_err_and(|error| error.to_string().contains("error code 10005"))
    })
    .await;
    let topology = Topology::parse(TOPOLOGY).unwrap();
    let (provisioned, third) = tokio::join!(topology.provision(&js, 3), third.start());
    provisioned.unwrap();
    drop((servers, third.unwrap()));
    std::fs::remove_dir_all(&data).unwrap();
}
