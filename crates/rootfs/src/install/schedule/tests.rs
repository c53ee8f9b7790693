//! Tables for the cases that have a name, and properties on random packages, with the rules said a
//! second time.

use fam_archive::deb822::stanzas;
use proptest::prelude::*;

use super::*;

/// A package from a line: `name`, then `!` for a preinst and `*` for one of the first stage, then
/// fields separated by `;`.
fn node(line: &str) -> Node {
    let (head, fields) = line.split_once(' ').unwrap_or((line, ""));
    let name = head.trim_end_matches(['!', '*']);
    let fields: String = fields.split(';').map(|field| format!("{}\n", field.trim())).collect();
    let stanza = format!("Package: {name}\nVersion: 1:2-3\n{}", fields.trim());
    Node::new(&stanzas(&stanza).next().unwrap(), head.contains('*'), head.contains('!')).unwrap()
}

impl Schedule {
    /// A few words for each step.
    fn named(&self, nodes: &[Node]) -> Vec<String> {
        let names =
            |positions: &[usize]| positions.iter().map(|&it| nodes[it].name.clone()).collect::<Vec<_>>().join("+");
        let steps = self.steps.iter().map(|step| match step {
            Step::Place(packages) => format!("place {}", names(packages)),
            Step::Preinst(package) => format!("preinst {}", names(&[*package])),
            Step::Configure(packages) => format!("configure {}", names(packages)),
            Step::Preseed => "preseed".to_owned(),
        });
        steps.chain(self.cuts.iter().map(|&package| format!("cut {}", nodes[package].name))).collect()
    }
}

/// What a list of packages comes to, a word a step.
fn plan(lines: &[&str]) -> String {
    plan_with(false, lines)
}

fn plan_with(preseed: bool, lines: &[&str]) -> String {
    let nodes: Vec<Node> = lines.iter().map(|line| node(line)).collect();
    let first = first_stage(&nodes);
    let schedule = second_stage(&nodes, &first.iter().copied().collect(), preseed);
    let first: Vec<&str> = first.iter().map(|&position| nodes[position].name.as_str()).collect();
    [format!("first {}", first.join("+"))].into_iter().chain(schedule.named(&nodes)).collect::<Vec<_>>().join(", ")
}

/// The early stage of some packages, and all that follows the first one.
fn both_stages(nodes: &[Node], first: &BTreeSet<usize>) -> (BTreeSet<usize>, Schedule) {
    let early = awaited(nodes, first);
    let there: Vec<usize> = (first | &early).into_iter().collect();
    let those: Vec<Node> = there.iter().map(|&position| nodes[position].clone()).collect();
    if !is_closed(&those) {
        return (BTreeSet::new(), second_stage(nodes, first, false));
    }
    let first_of_those = (0..there.len()).filter(|&it| first.contains(&there[it])).collect();
    let mut all = early_stage(&those, &first_of_those).at(&there);
    let rest = second_stage(nodes, &there.into_iter().collect(), false);
    all.steps.extend(rest.steps);
    all.cuts.extend(rest.cuts);
    (early, all)
}

/// What a list of packages comes to where the early stage is taken before the others.
fn plan_early(lines: &[&str]) -> String {
    let nodes: Vec<Node> = lines.iter().map(|line| node(line)).collect();
    both_stages(&nodes, &first_stage(&nodes).into_iter().collect()).1.named(&nodes).join(", ")
}

#[test]
fn the_early_stage_is_what_others_pre_depend_on() {
    // The first stage is not in it, and what pre-depends on something is in it only if another one needs it.
    let lines = ["libc*", "python! Pre-Depends: minimal", "minimal Pre-Depends: libc; Depends: expat", "expat!", "vim"];
    assert_eq!(
        plan_early(&lines),
        "place minimal, preinst expat, place expat, configure expat+minimal, place vim, preinst python, place python"
    );
    // It makes no difference to it whether there is a preinst.
    assert_eq!(plan_early(&["a Pre-Depends: b", "b", "c"]), "place b, configure b, place a+c");
    assert_eq!(plan_early(&["a Depends: b", "b*", "c Pre-Depends: b"]), "place a+c");
    // Something in it waits for something else in it.
    assert_eq!(
        plan_early(&["a! Pre-Depends: b", "b! Pre-Depends: c", "c", "d!"]),
        "place c, configure c, preinst b, place b, configure b, preinst a, preinst d, place a+d"
    );
    // Of two that could be taken, the one that is there.
    assert_eq!(plan_early(&["a Pre-Depends: b | c", "b", "c*"]), "place a+b");
    // Something that no package is.
    assert_eq!(
        plan_early(&["a! Pre-Depends: b", "b Depends: missing", "c"]),
        "place b+c, configure b, preinst a, place a"
    );
}

#[test]
fn the_first_stage_is_what_essential_packages_need() {
    let lines =
        ["dpkg* Pre-Depends: libc; Depends: tar | cpio", "libc", "tar* Pre-Depends: libc", "cpio", "vim Depends: libc"];
    assert_eq!(plan(&lines), "first libc+tar+dpkg, place cpio+vim");
    // A virtual package, and a version that one of two has.
    let lines = ["a* Depends: awk, b (>> 2:1) | c (>= 1:2)", "mawk Provides: awk", "b", "c", "gawk Provides: awk"];
    assert_eq!(plan(&lines), "first gawk+c+a, place b+mawk");
    let lines = ["a* Depends: v (= 2)", "b Provides: v", "c Provides: v (= 1)", "d Provides: v (= 2)", "missing"];
    assert_eq!(plan(&lines), "first d+a, place b+c+missing");
}

#[test]
fn first_stages_are_closed_or_not() {
    let closed = |lines: &[&str]| is_closed(&lines.iter().map(|line| node(line)).collect::<Vec<_>>());
    assert!(closed(&["a* Depends: b", "b* Pre-Depends: v", "c* Provides: v"]));
    assert!(!closed(&["a* Depends: b"]));
    assert!(closed(&[]));
}

#[test]
fn packages_exclude_each_other() {
    let excluded = |lines: &[&str]| {
        let nodes: Vec<Node> = lines.iter().map(|line| node(line)).collect();
        exclusion(&nodes).map(|(package, other)| format!("{} {}", nodes[package].name, nodes[other].name))
    };
    for (lines, expected) in [
        (&["a Conflicts: b", "b"][..], Some("a b")),
        (&["a", "b Breaks: a (<< 1:3)"], Some("b a")),
        (&["a", "b Breaks: a (<< 1:2)"], None),
        (&["a Provides: mta; Conflicts: mta", "b Provides: mta"], Some("a b")),
        (&["a Provides: mta; Conflicts: mta, a"], None),
        (&["a Architecture: amd64; Conflicts: b:i386", "b"], None),
        (&["a Architecture: amd64; Conflicts: b:amd64", "b"], Some("a b")),
        (&["a Conflicts: c", "b"], None),
    ] {
        assert_eq!(excluded(lines).as_deref(), expected, "{lines:?}");
    }
}

#[test]
fn base_passwd_comes_before_what_it_depends_on() {
    let lines = ["libc*", "base-passwd* Depends: libc", "base-files* Pre-Depends: awk", "mawk* Provides: awk"];
    assert_eq!(plan(&lines), "first base-passwd+base-files+libc+mawk");
}

#[test]
fn answers_are_there_before_others_are_configured() {
    // The preinst of b calls what a is; that may ask, when it is configured.
    let lines = [
        "a Depends: debconf",
        "b! Pre-Depends: a",
        "c!",
        "debconf! Pre-Depends: perl",
        "perl! Depends: x",
        "x",
        "libc*",
    ];
    assert_eq!(
        plan_with(true, &lines),
        "first libc, place a+x, preinst perl, place perl, configure perl+x, preinst debconf, place debconf, \
         configure debconf, preseed, preinst c, place c, configure a, preinst b, place b"
    );
    assert!(!plan(&lines).contains("preseed"));
    assert_eq!(plan_with(true, &["libc*", "a!"]), "first libc, preinst a, place a");
}

#[test]
fn what_has_no_preinst_waits_for_nothing() {
    assert_eq!(plan(&["a Pre-Depends: b", "b Pre-Depends: c!", "c!", "d"]), "first , place a+b+d, preinst c, place c");
}

#[test]
fn a_preinst_sees_its_pre_dependencies_configured() {
    // mariadb-server, whose preinst calls adduser, which depends on passwd.
    let lines = ["mariadb! Pre-Depends: adduser; Depends: x", "adduser! Depends: passwd", "passwd!", "x", "libc*"];
    assert_eq!(
        plan(&lines),
        "first libc, place x, preinst passwd, preinst adduser, place adduser+passwd, \
         configure adduser+passwd, preinst mariadb, place mariadb"
    );
    // One that is configured with the first stage is not waited for.
    assert_eq!(
        plan(&["sudo! Pre-Depends: init | systemd", "init*", "systemd"]),
        "first init, place systemd, preinst sudo, place sudo"
    );
    // A chain of waiting packages.
    assert_eq!(
        plan(&["a! Pre-Depends: b", "b! Pre-Depends: c", "c"]),
        "first , place c, configure c, preinst b, place b, configure b, preinst a, place a"
    );
}

#[test]
fn circles_are_broken_where_nothing_else_is_left() {
    // Through Depends: dpkg breaks it within its run.
    assert_eq!(
        plan(&["a! Pre-Depends: b", "b Depends: c", "c Depends: b"]),
        "first , place b+c, configure b+c, preinst a, place a"
    );
    // Back to the package itself: what its preinst waits for cannot be configured without it.
    assert_eq!(
        plan(&["a! Pre-Depends: b, d", "b Depends: a", "d"]),
        "first , place b+d, configure d, preinst a, place a, cut a"
    );
    // Of two, the one whose own pre-dependency is placed; then the other waits as it should.
    assert_eq!(
        plan(&["a! Pre-Depends: b", "b! Pre-Depends: c", "c Depends: a", "z! Pre-Depends: a"]),
        "first , place c, preinst b, place b, preinst a, place a, configure a+b+c, preinst z, place z, cut b, cut a"
    );
    let two = ["b! Pre-Depends: a", "a! Pre-Depends: b"];
    assert_eq!(plan(&two), "first , preinst a, place a, preinst b, place b, cut a, cut b");
}

#[test]
fn what_is_not_there_is_not_waited_for() {
    assert_eq!(plan(&["a! Pre-Depends: nowhere, b (>= 9:0)", "b"]), "first , place b, preinst a, place a");
}

/// A package of a random graph.
#[derive(Debug, Clone)]
struct Random {
    first: bool,
    preinst: bool,
    pre_depends: Vec<Vec<usize>>,
    depends: Vec<Vec<usize>>,
    provides: Vec<usize>,
}

const PACKAGES: usize = 9;
/// Names from here on are virtual, or of packages that are not there.
const NAMES: usize = 12;

fn random() -> impl Strategy<Value = Vec<Random>> {
    let clauses = || prop::collection::vec(prop::collection::vec(0..NAMES, 1..3), 0..2);
    let one =
        (prop::bool::weighted(0.15), any::<bool>(), clauses(), clauses(), prop::collection::vec(PACKAGES..NAMES, 0..2));
    let package = one.prop_map(|(first, preinst, pre_depends, depends, provides)| Random {
        first,
        preinst,
        pre_depends,
        depends,
        provides,
    });
    prop::collection::vec(package, 1..=PACKAGES)
}

/// A graph, and another order of its packages.
fn shuffled() -> impl Strategy<Value = (Vec<Random>, Vec<usize>)> {
    random().prop_flat_map(|graph| {
        let order: Vec<usize> = (0..graph.len()).collect();
        (Just(graph), Just(order).prop_shuffle())
    })
}

/// The first package of a graph is the one that takes answers.
fn name(number: usize) -> String {
    if number == 0 { DEBCONF.to_owned() } else { format!("p{number}") }
}

fn nodes_of(graph: &[Random]) -> Vec<Node> {
    let relation = |field: &str, clauses: &[Vec<usize>]| {
        let clause = |clause: &Vec<usize>| clause.iter().map(|&it| name(it)).collect::<Vec<_>>().join(" | ");
        if clauses.is_empty() {
            String::new()
        } else {
            format!("; {field}: {}", clauses.iter().map(clause).collect::<Vec<_>>().join(", "))
        }
    };
    let line = |(number, package): (usize, &Random)| {
        let provides: Vec<Vec<usize>> = package.provides.iter().map(|&it| vec![it]).collect();
        format!(
            "{}{}{} Architecture: all{}{}{}",
            name(number),
            if package.preinst { "!" } else { "" },
            if package.first { "*" } else { "" },
            relation("Pre-Depends", &package.pre_depends),
            relation("Depends", &package.depends),
            relation("Provides", &provides),
        )
    };
    graph.iter().enumerate().map(line).map(|line| node(&line)).collect()
}

/// The rules, said of the graph itself.
struct Rules<'a>(&'a [Random]);

impl Rules<'_> {
    fn satisfying(&self, clause: &[usize]) -> BTreeSet<usize> {
        (0..self.0.len())
            .filter(|it| clause.contains(it) || self.0[*it].provides.iter().any(|virt| clause.contains(virt)))
            .collect()
    }

    /// Whether each of `clauses` holds among `there`, but for those that no package satisfies.
    fn hold(&self, clauses: &[Vec<usize>], there: &BTreeSet<usize>) -> bool {
        clauses.iter().map(|clause| self.satisfying(clause)).all(|all| all.is_empty() || !all.is_disjoint(there))
    }

    fn all_hold(&self, package: usize, there: &BTreeSet<usize>) -> bool {
        self.hold(&self.0[package].pre_depends, there) && self.hold(&self.0[package].depends, there)
    }

    /// Whether a package may need itself, over any of the alternatives.
    fn in_circle(&self, package: usize) -> bool {
        self.needed_by(package).contains(&package)
    }

    /// What a package may need, over any of the alternatives.
    fn needed_by(&self, package: usize) -> BTreeSet<usize> {
        let edges: BTreeMap<usize, BTreeSet<usize>> = (0..self.0.len())
            .map(|it| {
                let clauses = self.0[it].pre_depends.iter().chain(&self.0[it].depends);
                (it, clauses.flat_map(|clause| self.satisfying(clause)).collect())
            })
            .collect();
        reachable(&edges, package)
    }
}

fn follow(graph: &[Random], first: &[usize], schedule: &Schedule) {
    let rules = Rules(graph);
    let (mut placed, mut configured): (BTreeSet<usize>, BTreeSet<usize>) =
        (first.iter().copied().collect(), first.iter().copied().collect());
    let mut ran = BTreeSet::new();
    for step in &schedule.steps {
        match step {
            Step::Place(packages) => {
                for package in packages {
                    assert!(placed.insert(*package), "placed twice");
                    assert_eq!(graph[*package].preinst, ran.contains(package), "its preinst comes before");
                }
            }
            Step::Preinst(package) => {
                assert!(ran.insert(*package) && !placed.contains(package), "once, and before it is placed");
                let cut = schedule.cuts.contains(package);
                assert!(
                    cut || rules.hold(&graph[*package].pre_depends, &configured),
                    "pre-dependencies are configured"
                );
            }
            Step::Configure(packages) => {
                let packages: BTreeSet<usize> = packages.iter().copied().collect();
                assert!(
                    packages.is_subset(&placed) && packages.is_disjoint(&configured),
                    "placed, and not configured yet"
                );
                configured.extend(&packages);
                for package in packages {
                    assert!(rules.all_hold(package, &configured), "dpkg finds all that it needs");
                }
            }
            Step::Preseed => {
                assert!(configured.contains(&0), "debconf is configured");
                let needed = rules.needed_by(0);
                assert!(
                    configured.iter().all(|it| *it == 0 || first.contains(it) || needed.contains(it)),
                    "no other is"
                );
            }
        }
    }
    assert_eq!(placed.len(), graph.len(), "every package is placed");
    assert!(schedule.cuts.iter().all(|package| rules.in_circle(*package)), "only circles are cut");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_rule_is_broken(graph in random(), preseed in any::<bool>()) {
        let nodes = nodes_of(&graph);
        let first = first_stage(&nodes);
        let stage: BTreeSet<usize> = first.iter().copied().collect();
        assert_eq!(stage.len(), first.len());
        assert!((0..graph.len()).all(|package| stage.contains(&package) || !graph[package].first));
        assert!(stage.iter().all(|&package| Rules(&graph).all_hold(package, &stage)));
        let preseed = preseed && !stage.contains(&0);
        let schedule = second_stage(&nodes, &stage, preseed);
        follow(&graph, &first, &schedule);
        let (early, both) = both_stages(&nodes, &stage);
        follow(&graph, &first, &both);
        assert!(early.is_disjoint(&stage));
        let there = &stage | &early;
        let is_of_others = |step: &Step| matches!(step, Step::Place(packages) if !packages.iter().any(|it| there.contains(it)));
        let others = both.steps.iter().skip_while(|step| !is_of_others(step));
        assert!(early.is_empty() || others.clone().all(|step| !matches!(step, Step::Configure(_))), "all of it is configured before");
        assert_eq!(schedule.steps.iter().filter(|step| **step == Step::Preseed).count(), usize::from(preseed));
    }

    #[test]
    fn names_decide_and_not_positions((graph, order) in shuffled()) {
        let nodes = nodes_of(&graph);
        let shuffled: Vec<Node> = order.iter().map(|&position| nodes[position].clone()).collect();
        let named = |nodes: &[Node]| {
            let first = first_stage(nodes);
            let stage: BTreeSet<usize> = first.iter().copied().collect();
            let is_first = first.iter().any(|&it| nodes[it].name == DEBCONF);
            let schedule = second_stage(nodes, &stage, !is_first);
            let first: Vec<_> = first.iter().map(|&it| &nodes[it].name).collect();
            format!("{first:?} {:?} {:?}", schedule.named(nodes), both_stages(nodes, &stage).1.named(nodes))
        };
        prop_assert_eq!(named(&nodes), named(&shuffled));
    }
}
