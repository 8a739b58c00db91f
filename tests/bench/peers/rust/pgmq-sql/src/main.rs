//! Puts pgmq's functions, which its crate brings as SQL, into the database of DATABASE_URL.

#[tokio::main]
async fn main() {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set");
    let pgmq = pgmq::PGMQueueExt::new(url, 1).await.unwrap();
    pgmq.install_sql_from_embedded().await.unwrap();
}
