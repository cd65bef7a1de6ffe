//! Documents: versions that count changes, and copies of which the newest stays.

use std::collections::BTreeMap;

use choreography::documents::{Documents, find, list};
use choreography::{database, migration};
use sea_orm::TransactionTrait;
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use crate::on_both_databases;
use crate::support::{Bench, Engine};

on_both_databases!(
    a_document_gets_a_version_with_each_change_of_its_content,
    a_copy_has_the_newest_version_whatever_the_order_of_arrival,
);

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        crate::counter::Migrator::migrations().into_iter().chain(migration::documents()).collect()
    }
}

async fn a_document_gets_a_version_with_each_change_of_its_content(engine: Engine) {
    let bench = Bench::new(engine).await;
    let db = database::open::<Migrator>(&bench.url).await.unwrap();
    let ids = || ["A", "B", "A"].map(str::to_owned);
    let tx = db.begin().await.unwrap();
    let mut documents = Documents::<u32>::load(&tx, ids()).await.unwrap();
    assert_eq!([documents.put("A", &1), documents.put("A", &2), documents.put("A", &2)], [Some(1), Some(2), None]);
    documents.save(&tx).await.unwrap();
    tx.commit().await.unwrap();

    let tx = db.begin().await.unwrap();
    let mut documents = Documents::<u32>::load(&tx, ids()).await.unwrap();
    assert_eq!([documents.put("A", &2), documents.put("A", &3), documents.put("B", &7)], [None, Some(3), Some(1)]);
    documents.save(&tx).await.unwrap();
    tx.commit().await.unwrap();
    let expected = BTreeMap::from([("A".to_owned(), 3_u32), ("B".to_owned(), 7)]);
    assert_eq!(find(&db, ["B", "A", "Z"].map(str::to_owned)).await.unwrap(), expected);
    assert_eq!(list::<u32>(&db, 1).await.unwrap(), [3]);
    assert_eq!(list::<u32>(&db, 9).await.unwrap(), [3, 7]);
}

async fn a_copy_has_the_newest_version_whatever_the_order_of_arrival(engine: Engine) {
    let bench = Bench::new(engine).await;
    let db = database::open::<Migrator>(&bench.url).await.unwrap();
    for versions in [&[2, 1][..], &[1, 3, 2], &[3]] {
        let tx = db.begin().await.unwrap();
        let mut copies = Documents::<i64>::load(&tx, ["A".to_owned()]).await.unwrap();
        versions.iter().for_each(|version| copies.copy("A", *version, version));
        copies.save(&tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(list::<i64>(&db, 9).await.unwrap(), [3]);
}
