//! Promises of `docs/monitoring`: its dashboard and its alerts ask for figures that the broker has, and the
//! dashboard shows all of them.
//!
//! Of PromQL, only what names figures and labels is understood here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;
use tests::TestBroker;

/// Figures that Prometheus and its blackbox exporter make of each target.
const OF_PROMETHEUS: [&str; 2] = ["up", "probe_success"];

/// Labels that Prometheus adds to the figures of each target.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// What the broker exposes.
#[derive(Default)]
struct Exposed {
    /// The type of each family.
    families: BTreeMap<String, String>,
    /// The labels of each series of a figure, which has the name of its family or begins with it.
    series: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl Exposed {
    /// The figures of a broker with a store and clients of two protocols.
    fn of_a_broker() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().to_str().expect("a path of text");
        let broker = TestBroker::with_args(&["--data", data]);
        let _ann = broker.subscribe("a");
        let mut scraper = broker.connect();
        scraper.write("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = scraper.read_to_end();
        let (_, text) = answer.split_once("\r\n\r\n").expect("a head");
        let mut exposed = Self::default();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a type");
                exposed.families.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').expect("a value");
                let selector = Query::parse(series).selectors.remove(0);
                let labels = selector.matchers.into_iter().map(|it| (it.label, it.value));
                let all = exposed.series.entry(selector.figure).or_default();
                all.push(labels.collect());
            }
        }
        exposed
    }

    /// The family of a figure.
    fn family<'a>(&self, figure: &'a str) -> Option<&'a str> {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let mut names = suffixes.iter().filter_map(|end| figure.strip_suffix(end));
        let name = names.find(|name| self.families.contains_key(*name))?;
        Some(name).filter(|_| self.series.contains_key(figure))
    }

    fn labels(&self, figure: &str) -> BTreeSet<&str> {
        let series = self.series.get(figure).into_iter().flatten();
        let own = series.flat_map(|labels| labels.keys().map(String::as_str));
        own.chain(OF_TARGETS).collect()
    }

    /// Whether a series has this label with this value, or any if the value is a variable of the dashboard.
    fn has(&self, figure: &str, matcher: &Matcher) -> bool {
        if OF_TARGETS.contains(&&*matcher.label) {
            return true;
        }
        let mut series = self.series.get(figure).into_iter().flatten();
        series.any(|labels| labels.get(&matcher.label) == Some(&matcher.value))
    }

    /// What is wrong with a query.
    fn mistakes(&self, query: &Query) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut labels = BTreeSet::new();
        for selector in &query.selectors {
            let figure = &*selector.figure;
            labels.extend(self.labels(figure));
            if OF_PROMETHEUS.contains(&figure) {
                continue;
            }
            let Some(family) = self.family(figure) else {
                mistakes.push(format!("there is no {figure}"));
                continue;
            };
            for matcher in &selector.matchers {
                if !self.has(figure, matcher) {
                    let Matcher { label, value } = matcher;
                    mistakes.push(format!("no {figure} has {label}={value:?}"));
                }
            }
            let is_count = self.families[family] != "gauge";
            let is_counted = selector.function.as_deref().is_some_and(|function| {
                ["rate", "irate", "increase", "resets"].contains(&function)
            });
            if is_count != is_counted {
                mistakes.push(format!(
                    "{figure} is a {}, in {:?}",
                    self.families[family], selector.function
                ));
            }
        }
        let unknown = query
            .grouped_by
            .iter()
            .filter(|label| !labels.contains(&***label));
        mistakes.extend(unknown.map(|label| format!("no figure of the query has {label}")));
        mistakes
    }
}

/// What a query of PromQL names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    selectors: Vec<Selector>,
    grouped_by: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Selector {
    figure: String,
    matchers: Vec<Matcher>,
    /// The function that it is the argument of.
    function: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

impl Query {
    fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let mut query = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let next = tokens.get(at + 1);
            let is_called = next == Some(&Token::Sign('('));
            match &tokens[at] {
                Token::Word(word) if ["by", "without", "on", "ignoring"].contains(&&**word) => {
                    let labels = tokens[at..]
                        .iter()
                        .take_while(|it| **it != Token::Sign(')'));
                    let labels: Vec<&Token> = labels.collect();
                    at += labels.len();
                    let words = labels[1..].iter().filter_map(|token| token.word());
                    query.grouped_by.extend(words.map(str::to_owned));
                }
                Token::Word(word) if is_called || is_operator(word) => {}
                Token::Word(_) if next.is_some_and(|it| it.word() == Some("by")) => {}
                Token::Word(figure) => {
                    let function = match at.checked_sub(2).map(|before| &tokens[before..at]) {
                        Some([Token::Word(function), Token::Sign('(')]) => Some(function.clone()),
                        _ => None,
                    };
                    let mut selector = Selector {
                        figure: figure.clone(),
                        function,
                        matchers: Vec::new(),
                    };
                    if next == Some(&Token::Sign('{')) {
                        let inside = tokens[at..]
                            .iter()
                            .take_while(|it| **it != Token::Sign('}'));
                        let inside: Vec<&Token> = inside.collect();
                        at += inside.len();
                        selector.matchers = matchers(&inside);
                    }
                    query.selectors.push(selector);
                }
                Token::Text(_) | Token::Sign(_) => {}
            }
            at += 1;
        }
        query
    }
}

/// The labels and values between braces.
fn matchers(tokens: &[&Token]) -> Vec<Matcher> {
    let labels = tokens.iter().filter_map(|token| token.word()).skip(1);
    let values = tokens.iter().filter_map(|token| match token {
        Token::Text(text) => Some(text.clone()),
        Token::Word(_) | Token::Sign(_) => None,
    });
    let pairs = labels.zip(values);
    let pair = |(label, value): (&str, String)| Matcher {
        label: label.to_owned(),
        value,
    };
    pairs.map(pair).collect()
}

fn is_operator(word: &str) -> bool {
    ["and", "or", "unless", "bool", "offset"].contains(&word)
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Text(_) | Self::Sign(_) => None,
        }
    }
}

/// The tokens of a query, without numbers and ranges in brackets.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_in_word = |letter: char| letter.is_alphanumeric() || "_:.".contains(letter);
        let length = match first {
            '"' => 2 + rest[1..].find('"').expect("the text ends"),
            '[' => 1 + rest.find(']').expect("the bracket is closed"),
            _ if is_in_word(first) => rest.find(|it| !is_in_word(it)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            '[' => {}
            '"' => tokens.push(Token::Text(token[1..length - 1].to_owned())),
            _ if first.is_ascii_digit() || first.is_whitespace() => {}
            _ if is_in_word(first) => tokens.push(Token::Word(token.to_owned())),
            _ => tokens.push(Token::Sign(first)),
        }
    }
    tokens
}

fn document(name: &str) -> String {
    let path = format!("{}/../docs/monitoring/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).expect("the document")
}

fn dashboard() -> Value {
    serde_json::from_str(&document("dashboard.json")).expect("JSON")
}

/// The panels that show something, not the heads of rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("a list").iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// The queries of the dashboard, each with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("a panel has queries");
        let texts = targets.iter().map(|target| target["expr"].as_str());
        queries.extend(texts.map(|text| (title, text.expect("a query"))));
    }
    queries
}

/// An alert of the rules.
struct Alert {
    name: String,
    query: String,
    annotations: Vec<String>,
}

fn alerts() -> Vec<Alert> {
    let text = document("alerts.yaml");
    let rules = Yaml::load_from_str(&text).expect("YAML");
    let mut alerts = Vec::new();
    for group in rules[0]["groups"].as_vec().expect("a list") {
        for rule in group["rules"].as_vec().expect("a list") {
            let text = |of: &Yaml<'_>, key: &str| of[key].as_str().expect(key).to_owned();
            if let Some(time) = rule.as_mapping_get("for").and_then(Yaml::as_str) {
                humantime::parse_duration(time).expect("a time");
            }
            assert!(["warning", "critical"].contains(&&*text(&rule["labels"], "severity")));
            let annotations = &rule["annotations"];
            alerts.push(Alert {
                name: text(rule, "alert"),
                query: text(rule, "expr"),
                annotations: vec![
                    text(annotations, "summary"),
                    text(annotations, "description"),
                ],
            });
        }
    }
    assert!(alerts.len() >= 9, "only {} alerts", alerts.len());
    alerts
}

#[test]
fn the_dashboard_asks_for_figures_that_the_broker_has() {
    let (exposed, dashboard) = (Exposed::of_a_broker(), dashboard());
    let queries = queries(&dashboard);
    assert!(queries.len() > 30, "{}", queries.len());
    for (title, text) in queries {
        let query = Query::parse(text);
        let mistakes = exposed.mistakes(&query);
        assert!(mistakes.is_empty(), "{title}: {mistakes:?} in {text}");
        for selector in &query.selectors {
            let ours = &selector.matchers[..2];
            let named = ours.iter().map(|it| (&*it.label, &*it.value));
            assert!(
                named.eq([("job", "$job"), ("instance", "$instance")]),
                "{title}: {text} shows brokers that are not chosen"
            );
        }
    }
}

#[test]
fn every_figure_of_the_broker_is_on_the_dashboard() {
    let (exposed, dashboard) = (Exposed::of_a_broker(), dashboard());
    let queries = queries(&dashboard).into_iter();
    let queries: Vec<Query> = queries.map(|(_, text)| Query::parse(text)).collect();
    let figures = queries.iter().flat_map(|query| &query.selectors);
    let shown: BTreeSet<&str> = figures
        .filter_map(|it| exposed.family(&it.figure))
        .collect();
    assert!(exposed.families.len() > 25, "{:?}", exposed.families);
    let mut missing = exposed.families.keys();
    let missing = missing.find(|family| !shown.contains(&***family));
    assert_eq!(
        missing, None,
        "it needs a panel of docs/monitoring/dashboard.json"
    );
}

#[test]
fn the_dashboard_can_be_imported_beside_others() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "dallal");
    assert!(
        dashboard.get("id").is_none(),
        "an id belongs to one Grafana"
    );
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let named = |name: &str| {
        variables
            .iter()
            .find(|it| it["name"] == name)
            .expect("a variable")
    };
    assert_eq!(named("datasource")["type"], "datasource");
    for name in OF_TARGETS {
        assert_eq!(named(name)["datasource"]["uid"], "${datasource}");
    }
    let mut numbers = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("a list") {
        assert!(
            numbers.insert(panel["id"].as_u64()),
            "{} is there twice",
            panel["id"]
        );
    }
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            !panel["description"]
                .as_str()
                .expect("it says what it shows")
                .is_empty(),
            "{title}"
        );
        let sources = panel["targets"]
            .as_array()
            .expect("queries")
            .iter()
            .chain([panel]);
        for source in sources.map(|it| &it["datasource"]["uid"]) {
            assert_eq!(source, "${datasource}", "{title}");
        }
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().expect(it));
        let cells = (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y)));
        assert!(
            x + width <= 24 && cells.into_iter().all(|cell| taken.insert(cell)),
            "{title}"
        );
    }
}

#[test]
fn alerts_ask_for_figures_that_the_broker_has() {
    let exposed = Exposed::of_a_broker();
    for alert in alerts() {
        let query = Query::parse(&alert.query);
        let mistakes = exposed.mistakes(&query);
        assert!(
            !query.selectors.is_empty() && mistakes.is_empty(),
            "{}: {mistakes:?}",
            alert.name
        );
        let figures = query.selectors.iter().map(|selector| &*selector.figure);
        let labels: BTreeSet<&str> = match query.grouped_by.is_empty() {
            true => figures.flat_map(|figure| exposed.labels(figure)).collect(),
            false => query.grouped_by.iter().map(String::as_str).collect(),
        };
        for text in alert.annotations {
            for used in text.split("$labels.").skip(1) {
                let label = used.split([' ', '}']).next().unwrap_or_default();
                assert!(labels.contains(label), "{}: {label}", alert.name);
            }
        }
    }
}

#[test]
fn every_alert_is_explained() {
    let readme = document("README.md");
    let explained = readme.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: BTreeSet<String> = explained.map(str::to_owned).collect();
    let alerts: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(explained, alerts);
}

#[test]
fn the_jobs_of_the_alerts_are_those_of_the_example() {
    let readme = document("README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("it ends");
    let example = Yaml::load_from_str(example).expect("YAML");
    assert_eq!(example[0]["rule_files"][0].as_str(), Some("alerts.yaml"));
    let jobs = example[0]["scrape_configs"]
        .as_vec()
        .expect("a list")
        .iter();
    let jobs: BTreeSet<String> = jobs
        .map(|job| job["job_name"].as_str().expect("a name").to_owned())
        .collect();
    let queries = alerts().into_iter().map(|alert| Query::parse(&alert.query));
    let selectors = queries.flat_map(|query| query.selectors);
    let matchers = selectors.flat_map(|selector| selector.matchers);
    let used = matchers.filter(|matcher| matcher.label == "job");
    let used: BTreeSet<String> = used.map(|matcher| matcher.value).collect();
    assert_eq!(used, jobs);
}

#[test]
fn figures_labels_and_functions_of_a_query_are_found() {
    let query = Query::parse(
        r#"histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{job=~"$job", le!="1"}[5m])))
           / on (instance) b offset 5m > 1e3 and up == 0"#,
    );
    let figures = query
        .selectors
        .iter()
        .map(|it| (&*it.figure, it.function.as_deref()));
    let expected = [("a_bucket", Some("rate")), ("b", None), ("up", None)];
    assert!(figures.eq(expected), "{query:?}");
    let matchers = query.selectors[0].matchers.iter();
    let matchers = matchers.map(|it| (&*it.label, &*it.value));
    assert!(matchers.eq([("job", "$job"), ("le", "1")]), "{query:?}");
    assert_eq!(
        query.grouped_by,
        ["instance", "job", "le"].map(str::to_owned).into()
    );
}
