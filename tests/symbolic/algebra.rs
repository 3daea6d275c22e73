//! Expressions: reading, printing, simplifying, differentiating, evaluating.

use num_dual::{Dual3_64, DualNum, third_derivative};
use proptest::prelude::*;
use vkernel::symbolic::{Constant, Expr, Function, Tape, latex_symbol, parse};

fn read(text: &str) -> Expr {
    parse(text, &["x", "y"]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A value with a bound on its rounding error.
#[derive(Debug, Clone, Copy)]
struct Rounded {
    value: f64,
    error: f64,
}

/// The value of the tree as it stands, by the textbook rules of error propagation.
fn rounded(e: &Expr, x: f64, y: f64) -> Rounded {
    let own = |value: f64, carried: f64| Rounded {
        value,
        error: carried + f64::EPSILON * value.abs(),
    };
    match e {
        Expr::Number(n) => own(*n, 0.0),
        Expr::Constant(Constant::Pi) => own(std::f64::consts::PI, 0.0),
        Expr::Constant(Constant::E) => own(std::f64::consts::E, 0.0),
        Expr::Symbol(name) => own(if name == "x" { x } else { y }, 0.0),
        Expr::Sum(terms) => terms
            .iter()
            .map(|t| rounded(t, x, y))
            .fold(own(0.0, 0.0), |a, b| {
                own(a.value + b.value, a.error + b.error)
            }),
        Expr::Product(factors) => {
            factors
                .iter()
                .map(|f| rounded(f, x, y))
                .fold(own(1.0, 0.0), |a, b| {
                    own(
                        a.value * b.value,
                        a.error * b.value.abs() + a.value.abs() * b.error,
                    )
                })
        }
        Expr::Power(base, exponent) => {
            let (b, n) = (rounded(base, x, y), rounded(exponent, x, y));
            let value = b.value.powf(n.value);
            let by_base = (n.value * b.value.powf(n.value - 1.0)).abs() * b.error;
            let by_exponent = if matches!(**exponent, Expr::Number(_)) {
                0.0
            } else {
                (value * b.value.ln()).abs() * n.error
            };
            own(value, by_base + by_exponent)
        }
        Expr::Apply(f, u) => {
            let u = rounded(u, x, y);
            let slope = slope_of(*f, u.value);
            own(f.value(u.value), slope.abs() * u.error)
        }
    }
}

fn slope_of(f: Function, u: f64) -> f64 {
    match f {
        Function::Exp | Function::ExpM1 => u.exp(),
        Function::Ln => 1.0 / u,
        Function::Log1p => 1.0 / (1.0 + u),
        Function::Sqrt => 0.5 / u.sqrt(),
        Function::Sin => u.cos(),
        Function::Cos => u.sin(),
        Function::Tan => 1.0 / u.cos().powi(2),
        Function::Asin | Function::Acos => 1.0 / (1.0 - u * u).sqrt(),
        Function::Atan => 1.0 / (1.0 + u * u),
        Function::Sinh => u.cosh(),
        Function::Cosh => u.sinh(),
        Function::Tanh => 1.0 / u.cosh().powi(2),
        Function::Erf => 1.13 * (-u * u).exp(),
        Function::Abs => 1.0,
        Function::Sign => 0.0,
    }
}

/// Trees in x and y; many leave the real numbers somewhere.
fn trees(functions: &'static [Function]) -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        Just(Expr::symbol("x")),
        Just(Expr::symbol("y")),
        Just(Expr::pi()),
        (-4..=4_i32).prop_map(|n| Expr::from(f64::from(n))),
        (-3.0..3.0).prop_map(Expr::from),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        let exponents = prop_oneof![
            (-3..=4_i32).prop_map(|n| Expr::from(f64::from(n))),
            Just(Expr::from(0.5)),
            Just(Expr::from(-1.5)),
            Just(Expr::from(0.3)),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Sum),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Product),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a - b),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a / b),
            (inner.clone(), exponents).prop_map(|(b, n)| Expr::Power(Box::new(b), Box::new(n))),
            (prop::sample::select(functions), inner).prop_map(|(f, u)| Expr::apply(f, u)),
        ]
    })
}

const SMOOTH: &[Function] = &[
    Function::Exp,
    Function::Ln,
    Function::Sqrt,
    Function::Sin,
    Function::Cos,
    Function::Tan,
    Function::Asin,
    Function::Acos,
    Function::Atan,
    Function::Sinh,
    Function::Cosh,
    Function::Tanh,
    Function::ExpM1,
    Function::Log1p,
];

fn comparable(a: Rounded) -> bool {
    a.value.is_finite() && a.value.abs() < 1e12 && a.error < 1e-3 * a.value.abs().max(1e-6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn simplifying_keeps_the_value(e in trees(&Function::ALL), x in -2.0..2.0, y in 0.1..3.0) {
        let before = rounded(&e, x, y);
        let simple = e.simplify();
        prop_assert!(simple.size() <= 2 * e.size(), "{e} grew to {simple}");
        prop_assume!(comparable(before));
        let after = rounded(&simple, x, y);
        prop_assert!(
            (before.value - after.value).abs() <= 50.0 * (before.error + after.error),
            "{e} = {before:?}, {simple} = {after:?} at {x}, {y}"
        );
    }

    #[test]
    fn text_and_sympy_read_back_the_same(e in trees(&Function::ALL), x in -2.0..2.0, y in 0.1..3.0) {
        let before = rounded(&e, x, y);
        prop_assume!(comparable(before));
        for printed in [e.text(), e.sympy(), e.simplify().text()] {
            let after = rounded(&read(&printed), x, y);
            // SymPy has no expm1: what it gets cancels.
            let allowed = 50.0 * (before.error + after.error);
            prop_assert!(
                (before.value - after.value).abs() <= allowed,
                "{e:?} as {printed}: {before:?} against {after:?}"
            );
        }
    }

    #[test]
    fn a_tape_gives_the_tree_s_values(e in trees(&Function::ALL), x in -2.0..2.0, y in 0.1..3.0) {
        let before = rounded(&e, x, y);
        prop_assume!(comparable(before));
        let tape = Tape::new(&[e.clone(), e.simplify()], &["x", "y"]).unwrap();
        tape.evaluate(&[x, y], |_, value| {
            assert!((value - before.value).abs() <= 100.0 * before.error, "{e}: {value} against {before:?}");
        });
    }

    #[test]
    fn derivatives_are_those_of_dual_numbers(e in trees(SMOOTH), x in -2.0..2.0, y in 0.1..3.0) {
        let (value, d1, d2, d3) = third_derivative(|x| dual(&e, x, y), x);
        prop_assume!([value, d1, d2, d3].iter().all(|d| d.is_finite() && d.abs() < 1e6));
        let scatter = scatter_of_duals(&e, x, y);
        prop_assume!(comparable(rounded(&e, x, y)));
        let mut slope = e.simplify();
        for (exact, scatter) in [d1, d2, d3].into_iter().zip(scatter) {
            slope = slope.derivative("x");
            prop_assume!(slope.size() < 20_000);
            let symbolic = rounded(&slope, x, y);
            prop_assume!(comparable(symbolic));
            prop_assert!(
                (symbolic.value - exact).abs() <= 1e-8 * (1.0 + exact.abs()) + 1e3 * (symbolic.error + scatter),
                "{e}: {symbolic:?} against {exact} at {x}, {y}"
            );
        }
    }
}

/// Dual numbers round and cancel too (`x*(x/x)` near zero: terms of 1/x^3): by how much is seen from what their first three
/// derivatives scatter by among points that differ in the last few hundred units of x.
fn scatter_of_duals(e: &Expr, x: f64, y: f64) -> [f64; 3] {
    let mut range = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    for step in -16..=16 {
        let near = x * (1.0 + 23.0 * f64::from(step) * f64::EPSILON);
        let (_, d1, d2, d3) = third_derivative(|x| dual(e, x, y), near);
        for ([low, high], d) in range.iter_mut().zip([d1, d2, d3]) {
            *low = low.min(d);
            *high = high.max(d);
        }
    }
    range.map(|[low, high]| high - low)
}

fn dual(e: &Expr, x: Dual3_64, y: f64) -> Dual3_64 {
    let inside = |e: &Expr| dual(e, x, y);
    match e {
        Expr::Number(n) => Dual3_64::from(*n),
        Expr::Constant(c) => Dual3_64::from(c.value()),
        Expr::Symbol(name) if name == "x" => x,
        Expr::Symbol(_) => Dual3_64::from(y),
        Expr::Sum(terms) => terms
            .iter()
            .map(inside)
            .fold(Dual3_64::from(0.0), |a, b| a + b),
        Expr::Product(factors) => factors
            .iter()
            .map(inside)
            .fold(Dual3_64::from(1.0), |a, b| a * b),
        Expr::Power(base, exponent) => match **exponent {
            Expr::Number(n) if n.fract() == 0.0 => inside(base).powi(n as i32),
            Expr::Number(n) => inside(base).powf(n),
            _ => inside(base).powd(inside(exponent)),
        },
        Expr::Apply(f, u) => {
            let u = inside(u);
            match f {
                Function::Exp => u.exp(),
                Function::Ln => u.ln(),
                Function::Sqrt => u.sqrt(),
                Function::Sin => u.sin(),
                Function::Cos => u.cos(),
                Function::Tan => u.tan(),
                Function::Asin => u.asin(),
                Function::Acos => u.acos(),
                Function::Atan => u.atan(),
                Function::Sinh => u.sinh(),
                Function::Cosh => u.cosh(),
                // num-dual's own slope, 1 - tanh^2, cancels where tanh is near 1.
                Function::Tanh => {
                    Dual3_64::from(1.0) - Dual3_64::from(2.0) / ((u * 2.0).exp() + 1.0)
                }
                Function::ExpM1 => u.exp_m1(),
                Function::Log1p => u.ln_1p(),
                Function::Erf | Function::Abs | Function::Sign => {
                    unreachable!("not smooth in num-dual")
                }
            }
        }
    }
}

/// What dual numbers do not have.
#[test]
fn derivatives_of_erf_and_abs() {
    for x in [-1.7, -0.2, 0.4, 2.1] {
        let at = |e: &Expr| {
            Tape::new(std::slice::from_ref(e), &["x"])
                .unwrap()
                .value(&[x])
        };
        // erf as its integral, by Simpson's rule.
        let density = |u: f64| 2.0 / std::f64::consts::PI.sqrt() * (-u * u).exp();
        let h = x / 2000.0;
        let integral: f64 = (0..1000)
            .map(|i| {
                let a = 2.0 * h * f64::from(i);
                h / 3.0 * (density(a) + 4.0 * density(a + h) + density(a + 2.0 * h))
            })
            .sum();
        assert!((at(&read("erf(x)")) - integral).abs() < 1e-12);
        assert!((at(&read("erf(x)").derivative("x")) - density(x)).abs() < 1e-15);
        assert_eq!(at(&read("abs(x)").derivative("x")), x.signum());
        assert_eq!(at(&read("abs(x)").derivative("x").derivative("x")), 0.0);
    }
    // The tangent hyperbolic's slope is relatively accurate where it is tiny.
    let slope = Tape::new(&[read("tanh(x)").derivative("x")], &["x"]).unwrap();
    assert!((slope.value(&[20.0]) / (4.0 * (-40.0_f64).exp()) - 1.0).abs() < 1e-14);
}

#[test]
fn scatter_of_dual_numbers_covers_their_rounding() {
    // Its derivatives vanish; reading does not simplify, and their terms are as large as y/x^3.
    for i in 1..200 {
        let x = 2e-5 * f64::from(i);
        let e = read("y*(x/x)");
        let (_, d1, d2, d3) = third_derivative(|x| dual(&e, x, 0.1), x);
        for (d, scatter) in [d1, d2, d3].into_iter().zip(scatter_of_duals(&e, x, 0.1)) {
            assert!(d.abs() <= 10.0 * scatter, "{d} beyond {scatter} at {x}");
        }
    }
}

#[test]
fn canonical_forms() {
    for (from, to) in [
        ("x - x", "0"),
        ("x/x", "1"),
        ("x + x*2 + 1 + 3", "4 + 3*x"),
        ("y*x - x*y", "0"),
        ("exp(-x)^2", "exp(-2*x)"),
        ("exp(-x)/exp(-x)", "1"),
        ("sqrt(1 - exp(-2*x))^2", "1 - exp(-2*x)"),
        ("sqrt(x)*sqrt(x)*x^-1", "1"),
        ("x^0.5*x^1.5", "x^2"),
        ("(x^2)^3/x", "x^5"),
        ("sqrt(x^2)", "sqrt(x^2)"),
        ("-(x - y) + x", "y"),
        ("2*(x + y) - 2*x", "2*y"),
        ("ln(exp(x*y))", "x*y"),
        ("e^(2*x)", "exp(2*x)"),
        ("sqrt(4) + cos(0) + sin(1)", "3 + sin(1)"),
        ("x*0*exp(y)", "0"),
        ("2/(4*x)", "0.5/x"),
        ("-x^2", "-x^2"),
        ("2^3^2", "512"),
        ("x**-2", "1/x^2"),
        ("--x", "x"),
    ] {
        assert_eq!(read(from).simplify().text(), to, "{from}");
    }
}

#[test]
fn derivatives_are_tidy() {
    for (from, to) in [
        ("exp(-x^2/2)", "-x*exp(-0.5*x^2)"),
        ("x^3", "3*x^2"),
        ("y", "0"),
        ("cos(pi*x/2)", "-0.5*pi*sin(0.5*pi*x)"),
        ("2^x", "2^x*ln(2)"),
        ("sqrt(-expm1(-2*x))", "exp(-2*x)/sqrt(-expm1(-2*x))"),
    ] {
        assert_eq!(read(from).derivative("x").text(), to, "{from}");
    }
}

#[test]
fn latex_reads_as_it_is_written() {
    for (from, to) in [
        ("x^2/(2*y)", "\\frac{x^{2}}{2 \\, y}"),
        ("exp(-2*x)", "\\mathrm{e}^{-2 \\, x}"),
        ("sqrt(1 - x)", "\\sqrt{1 - x}"),
        ("2e-7*x", "2 \\cdot 10^{-7} \\, x"),
        ("2*3^x", "2 \\cdot 3^{x}"),
        ("(x + y)^2", "\\left(x + y\\right)^{2}"),
        ("sin(x)^2", "\\left(\\sin\\left(x\\right)\\right)^{2}"),
    ] {
        assert_eq!(read(from).latex(), to, "{from}");
    }
    for (from, to) in [
        ("alpha", "\\alpha"),
        ("x1", "x_{1}"),
        ("sigma_t", "\\sigma_{t}"),
        ("D", "D"),
        ("drift", "\\mathrm{drift}"),
    ] {
        assert_eq!(latex_symbol(from), to);
    }
}

/// Position, what was found and what is allowed.
#[test]
fn what_is_no_expression_is_refused() {
    let deep = format!("{}x{}", "(".repeat(100), ")".repeat(100));
    let signs = format!("{}x", "-".repeat(100_000));
    let powers = vec!["x"; 500].join("^");
    for (text, position, found, allowed) in [
        ("", 1, "the end", "a number, a variable"),
        ("x +", 4, "the end", "a number"),
        ("x + * y", 5, "'*'", "a number"),
        ("2 x", 3, "'x'", "an operator"),
        ("2x", 2, "'x'", "an operator"),
        ("(x + y", 7, "the end", "a closing parenthesis"),
        ("x)", 2, "')'", "the end"),
        ("sin x", 5, "'x'", "sin(...)"),
        ("z + 1", 1, "the unknown name \"z\"", "the variables x, y"),
        ("x + relu(y)", 5, "\"relu\"", "tanh"),
        ("1e999", 1, "\"1e999\"", "a finite number"),
        (".", 1, "\".\"", "a finite number"),
        ("x ≤ 2", 3, "'≤'", "an operator"),
        (&deep, 66, "deeper nesting", "at most 64"),
        (&signs, 4001, "100001 characters", "at most 4000"),
        (&powers, 131, "deeper nesting", "at most 64"),
    ] {
        let error = parse(text, &["x", "y"]).unwrap_err();
        let start: String = text.chars().take(20).collect();
        assert_eq!(error.position, position, "{start}: {error}");
        assert!(error.found.contains(found), "{start}: {error}");
        assert!(error.allowed.contains(allowed), "{start}: {error}");
    }
    // Long sums and products are no nesting.
    let long = vec!["x"; 1900].join("+");
    assert_eq!(read(&long).simplify().text(), "1900*x");
}

proptest! {
    /// Whatever is written, the answer is an expression or a message.
    #[test]
    fn any_text_is_answered(text in "[-+*/^()xyez0-9. eE]{0,40}|\\PC{0,20}") {
        let _ = parse(&text, &["x", "y"]).map(|e| e.derivative("x").text());
    }
}

#[test]
fn shared_parts_are_computed_once() {
    let slope = read("exp(-x^2/2)*sin(y)");
    let all = [slope.clone(), slope.derivative("x"), slope.clone()];
    let tape = Tape::new(&all, &["x", "y"]).unwrap();
    let alone = Tape::new(&all[..1], &["x", "y"]).unwrap();
    assert_eq!(tape.outputs(), 3);
    let apart = Tape::new(&all[1..2], &["x", "y"]).unwrap();
    assert!(tape.operations() < alone.operations() + apart.operations());
    assert!(Tape::new(&[Expr::symbol("z")], &["x"]).is_err());
    assert_eq!(
        slope.substitute("y", &Expr::from(0.0)).simplify(),
        Expr::from(0.0)
    );
}
