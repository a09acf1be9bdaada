use super::*;

fn target(url: &str) -> Result<Target, String> {
    Database::at(url).target()
}

#[test]
fn the_parts_make_a_url_with_awkward_characters_escaped() {
    let mut database = Database::postgres("product_service");
    database.password = Secret::from("p@ss/w:rd%?#");
    database.host = "::1".to_owned();
    assert_eq!(
        database.target(),
        Ok(Target::Postgres(
            "postgres://postgres:p%40ss%2Fw%3Ard%25%3F%23@[::1]:5432/product_service?sslmode=disable".into()
        ))
    );
    let mut database = Database::mariadb("payment", "payment_service");
    database.ssl_mode = SslMode::VerifyFull;
    assert_eq!(
        database.target(),
        Ok(Target::MariaDb("mysql://payment:password@localhost:3306/payment_service?ssl-mode=VERIFY_IDENTITY".into()))
    );
}

#[test]
fn an_empty_password_is_left_out() {
    let mut database = Database::postgres("x");
    database.password = Secret::default();
    assert_eq!(database.target(), Ok(Target::Postgres("postgres://postgres@localhost:5432/x?sslmode=disable".into())));
}

#[test]
fn several_hosts_are_as_many_urls() {
    let mut database = Database::postgres("shop");
    database.host = "a, b:5433,[::1]".to_owned();
    let Ok(Target::Postgres(url)) = database.target() else { panic!("PostgreSQL") };
    assert_eq!(url, "postgres://postgres:password@a:5432,b:5433,[::1]:5432/shop?sslmode=disable");
    let each =
        ["a:5432", "b:5433", "[::1]:5432"].map(|at| format!("postgres://postgres:password@{at}/shop?sslmode=disable"));
    assert_eq!(servers(&url), Ok(each.to_vec()));
    for (url, expected) in [
        ("mysql://u:a,b@h/x", vec!["mysql://u:a,b@h/x"]),
        ("mysql://u@a:1,b/x?y=@,z", vec!["mysql://u@a:1/x?y=@,z", "mysql://u@b/x?y=@,z"]),
        ("postgres://a,b", vec!["postgres://a", "postgres://b"]),
        ("postgres:///x?host=/run/postgresql", vec!["postgres:///x?host=/run/postgresql"]),
    ] {
        assert_eq!(servers(url), Ok(expected.into_iter().map(str::to_owned).collect()), "{url}");
    }
    for url in
        ["postgres://a,/x", "postgres://u@,b/x", "mysql://a,,b", "postgres://u@/x?host=a,b", "postgres://a:x,b/y"]
    {
        assert!(servers(url).is_err(), "{url}");
    }
}

fn problems(database: &Database) -> String {
    let mut problems = Problems::default();
    database.check("database", Engine::Postgres, &mut problems);
    problems.to_string()
}

#[test]
fn words_of_encryption_mean_what_they_say() {
    let file = Some(PathBuf::from("ca.pem"));
    let verified = Database { ssl_mode: SslMode::VerifyFull, ..Database::postgres("x") };
    assert_eq!(problems(&verified), "");
    let with = |url: &str| Database { ca_file: file.clone(), ..Database::at(url) };
    assert_eq!(problems(&with("postgres://a/b?sslmode=verify-full")), "");
    for (database, wrong) in [
        (with("postgres://a/b"), "database.ca_file"),
        (with("postgres://a/b?sslmode=require"), "database.ca_file"),
        (Database { ca_file: file.clone(), ..Database::postgres("x") }, "database.ca_file"),
        (Database::at("postgres://a/b?sslmode=verify-ca"), "use verify-full"),
        (Database::at("postgres://a/b?ssl-mode=allow"), "never encrypts"),
        (Database { cert_file: file.clone(), ..verified.clone() }, "database.key_file"),
        (Database { key_file: file.clone(), ..verified.clone() }, "database.cert_file"),
        (Database { cert_file: file.clone(), key_file: file.clone(), ..Database::postgres("x") }, "without encryption"),
    ] {
        assert!(problems(&database).contains(wrong), "{wrong}: {}", problems(&database));
    }
}

#[test]
fn a_direct_url_says_only_what_differs() {
    let main = "postgres://shop:p%40ss@pooler:6432/shop?sslmode=verify-full";
    for (main, direct, completed) in [
        (main, "postgres://db", "postgres://shop:p%40ss@db/shop?sslmode=verify-full"),
        (main, "postgresql://a:5432,b/", "postgres://shop:p%40ss@a:5432,b/shop?sslmode=verify-full"),
        (main, "postgres://owner:x@db/other", "postgres://owner:x@db/other?sslmode=verify-full"),
        (main, "postgres://db?sslmode=require", "postgres://shop:p%40ss@db/shop?sslmode=require"),
        (
            main,
            "postgres://db?application_name=m",
            "postgres://shop:p%40ss@db/shop?application_name=m&sslmode=verify-full",
        ),
        ("postgres://u@/x?host=/run/pooler", "postgres://db", "postgres://u@db/x"),
        ("postgres://u@/x?host=p&sslmode=verify-full", "postgres://db", "postgres://u@db/x?sslmode=verify-full"),
    ] {
        let database = Database { direct_url: Some(direct.into()), ..Database::at(main) };
        let direct = database.direct().expect("is good").expect("is there");
        assert_eq!(direct.target(), Ok(Target::Postgres(completed.into())));
        assert_eq!(problems(&database), "");
    }
    let parts = Database { direct_url: Some("postgres://db".into()), ..Database::postgres("x") };
    let direct = parts.direct().expect("is good").expect("is there");
    assert_eq!(direct.target(), Ok(Target::Postgres("postgres://postgres:password@db/x?sslmode=disable".into())));
    for (direct, wrong) in [
        ("mysql://db", "database.direct_url: lead to the same server"),
        ("sqlite://a.db", "database.direct_url: lead to the same server"),
        ("db:5432", "database.direct_url: use postgres://"),
        ("postgres://a,,b", "database.direct_url: there is no host"),
        ("postgres://db?sslmode=allow", "database.direct_url: sslmode=allow"),
    ] {
        let database = Database { direct_url: Some(direct.into()), ..Database::at(main) };
        assert!(problems(&database).contains(wrong), "{direct}: {}", problems(&database));
    }
}

#[test]
fn the_scheme_of_the_url_chooses_the_engine() {
    assert_eq!(target("postgresql://a@b/c"), Ok(Target::Postgres("postgres://a@b/c".into())));
    assert_eq!(target("mariadb://a@b/c"), Ok(Target::MariaDb("mysql://a@b/c".into())));
    assert_eq!(target("sqlite://data/a.db"), Ok(Target::Sqlite("data/a.db".into())));
    assert_eq!(target("sqlite:///var/a.db"), Ok(Target::Sqlite("/var/a.db".into())));
    assert_eq!(target("sqlite:a.db"), Ok(Target::Sqlite("a.db".into())));
}

#[test]
fn a_url_nobody_understands_is_refused() {
    for url in [
        "",
        "x",
        "oracle://a",
        "postgres:",
        "mysql://",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite://a?mode=ro",
    ] {
        assert!(target(url).is_err(), "{url}");
    }
}
