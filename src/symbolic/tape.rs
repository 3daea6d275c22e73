//! Fast evaluation: expressions compiled to one list of operations on registers.

use std::collections::HashMap;

use thiserror::Error;

use super::{Expr, Function};

/// Registers kept on the stack; longer tapes allocate once per evaluation.
const ON_STACK: usize = 128;
/// Largest whole exponent computed by multiplication.
const LARGEST_POWER: f64 = 64.0;

/// A symbol that is none of the tape's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the symbol {0:?} is no input")]
pub struct UnknownSymbol(pub String);

/// Several expressions of the same inputs, compiled: what they share is computed once, and evaluating looks nothing up.
/// Values outside a function's domain come out as NaN or infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct Tape {
    inputs: usize,
    /// Registers before the first operation: the inputs, then the numbers.
    initial: Vec<f64>,
    /// Operation i fills register `initial.len() + i`.
    operations: Vec<Operation>,
    outputs: Vec<usize>,
}

/// Operands are registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add(usize, usize),
    Subtract(usize, usize),
    Multiply(usize, usize),
    Divide(usize, usize),
    Negate(usize),
    /// A whole power, at least 2.
    Whole(usize, i32),
    Power(usize, usize),
    Apply(Function, usize),
}

impl Tape {
    /// Compiles expressions in the symbols `inputs`.
    pub fn new(expressions: &[Expr], inputs: &[&str]) -> Result<Self, UnknownSymbol> {
        let mut numbers = Numbers::default();
        for e in expressions {
            numbers.collect(e);
        }
        let mut builder = Builder {
            inputs,
            numbers,
            operations: Vec::new(),
            known: HashMap::new(),
        };
        let outputs = expressions.iter().map(|e| builder.compile(e));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let mut initial = vec![0.0; inputs.len()];
        initial.extend(builder.numbers.values);
        Ok(Self {
            inputs: inputs.len(),
            initial,
            operations: builder.operations,
            outputs,
        })
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Number of operations.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    /// Hands every output's value to `receive`, in order. `inputs` has one number per input symbol.
    pub fn evaluate(&self, inputs: &[f64], mut receive: impl FnMut(usize, f64)) {
        let (first, total) = (
            self.initial.len(),
            self.initial.len() + self.operations.len(),
        );
        let mut stack = [0.0; ON_STACK];
        let mut heap;
        let registers = if total <= ON_STACK {
            &mut stack[..total]
        } else {
            heap = vec![0.0; total];
            &mut heap[..]
        };
        registers[..first].copy_from_slice(&self.initial);
        registers[..self.inputs].copy_from_slice(inputs);
        for (i, operation) in self.operations.iter().enumerate() {
            registers[first + i] = operation.value(registers);
        }
        for (i, register) in self.outputs.iter().enumerate() {
            receive(i, registers[*register]);
        }
    }

    /// The first output's value.
    pub fn value(&self, inputs: &[f64]) -> f64 {
        let mut first = f64::NAN;
        self.evaluate(inputs, |i, value| {
            if i == 0 {
                first = value;
            }
        });
        first
    }
}

impl Operation {
    #[inline(always)]
    fn value(&self, r: &[f64]) -> f64 {
        match *self {
            Self::Add(a, b) => r[a] + r[b],
            Self::Subtract(a, b) => r[a] - r[b],
            Self::Multiply(a, b) => r[a] * r[b],
            Self::Divide(a, b) => r[a] / r[b],
            Self::Negate(a) => -r[a],
            Self::Whole(a, n) => r[a].powi(n),
            Self::Power(a, b) => r[a].powf(r[b]),
            Self::Apply(function, a) => function.value(r[a]),
        }
    }
}

/// The numbers of a tape, each once.
#[derive(Default)]
struct Numbers {
    values: Vec<f64>,
    places: HashMap<u64, usize>,
}

impl Numbers {
    fn keep(&mut self, n: f64) {
        let next = self.values.len();
        self.places.entry(n.to_bits()).or_insert_with(|| {
            self.values.push(n);
            next
        });
    }

    /// Keeps every number that an expression's operations use.
    fn collect(&mut self, e: &Expr) {
        match e {
            Expr::Number(n) => {
                self.keep(*n);
                self.keep(n.abs());
            }
            Expr::Constant(c) => self.keep(c.value()),
            Expr::Symbol(_) => {}
            Expr::Sum(parts) | Expr::Product(parts) => {
                self.keep(1.0);
                self.keep(0.0);
                parts.iter().for_each(|p| self.collect(p));
            }
            Expr::Power(base, exponent) => {
                self.keep(1.0);
                self.collect(base);
                self.collect(exponent);
            }
            Expr::Apply(_, argument) => self.collect(argument),
        }
    }
}

struct Builder<'a> {
    inputs: &'a [&'a str],
    numbers: Numbers,
    operations: Vec<Operation>,
    /// The register of every operation made so far.
    known: HashMap<Operation, usize>,
}

impl Builder<'_> {
    /// The register that holds the expression's value.
    fn compile(&mut self, e: &Expr) -> Result<usize, UnknownSymbol> {
        match e {
            Expr::Number(n) => Ok(self.number(*n)),
            Expr::Constant(c) => Ok(self.number(c.value())),
            Expr::Symbol(name) => self
                .inputs
                .iter()
                .position(|i| i == name)
                .ok_or_else(|| UnknownSymbol(name.clone())),
            Expr::Sum(terms) => self.sum(terms),
            Expr::Product(factors) => self.product(factors),
            Expr::Power(base, exponent) => self.power(base, exponent),
            Expr::Apply(function, argument) => {
                let argument = self.compile(argument)?;
                Ok(self.push(Operation::Apply(*function, argument)))
            }
        }
    }

    fn push(&mut self, operation: Operation) -> usize {
        let next = self.inputs.len() + self.numbers.values.len() + self.operations.len();
        *self.known.entry(operation).or_insert_with(|| {
            self.operations.push(operation);
            next
        })
    }

    /// The register of a number; all of them were collected before.
    fn number(&self, n: f64) -> usize {
        let place = self.numbers.places.get(&n.to_bits()).copied();
        self.inputs.len() + place.unwrap_or_default()
    }

    fn sum(&mut self, terms: &[Expr]) -> Result<usize, UnknownSymbol> {
        let mut total = None;
        for term in terms {
            let (negative, term) = without_sign(term);
            let value = self.compile(&term)?;
            total = Some(match (total, negative) {
                (None, false) => value,
                (None, true) => self.push(Operation::Negate(value)),
                (Some(total), false) => self.push(Operation::Add(total, value)),
                (Some(total), true) => self.push(Operation::Subtract(total, value)),
            });
        }
        Ok(total.unwrap_or_else(|| self.number(0.0)))
    }

    /// Factors with negative whole powers are collected into one divisor.
    fn product(&mut self, factors: &[Expr]) -> Result<usize, UnknownSymbol> {
        let (mut above, mut below, mut negative) = (None, None, false);
        for factor in factors {
            if factor.is_number(-1.0) {
                negative = !negative;
                continue;
            }
            let (slot, value) = match factor {
                Expr::Power(base, exponent) => match **exponent {
                    Expr::Number(n) if n < 0.0 => (&mut below, self.raise(base, -n)?),
                    _ => (&mut above, self.compile(factor)?),
                },
                _ => (&mut above, self.compile(factor)?),
            };
            *slot = Some(match *slot {
                None => value,
                Some(before) => self.push(Operation::Multiply(before, value)),
            });
        }
        let one = self.number(1.0);
        let value = match (above, below) {
            (Some(above), None) => above,
            (None, None) => one,
            (above, Some(below)) => self.push(Operation::Divide(above.unwrap_or(one), below)),
        };
        Ok(if negative {
            self.push(Operation::Negate(value))
        } else {
            value
        })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Result<usize, UnknownSymbol> {
        match exponent {
            Expr::Number(n) if *n < 0.0 => {
                let below = self.raise(base, -n)?;
                let one = self.number(1.0);
                Ok(self.push(Operation::Divide(one, below)))
            }
            Expr::Number(n) => self.raise(base, *n),
            _ => {
                let (base, exponent) = (self.compile(base)?, self.compile(exponent)?);
                Ok(self.push(Operation::Power(base, exponent)))
            }
        }
    }

    /// base^n for n >= 0.
    fn raise(&mut self, base: &Expr, n: f64) -> Result<usize, UnknownSymbol> {
        let base = self.compile(base)?;
        Ok(if n == 1.0 {
            base
        } else if n == 2.0 {
            self.push(Operation::Multiply(base, base))
        } else if n == 0.5 {
            self.push(Operation::Apply(Function::Sqrt, base))
        } else if n.fract() == 0.0 && n <= LARGEST_POWER {
            self.push(Operation::Whole(base, n as i32))
        } else {
            let exponent = self.number(n);
            self.push(Operation::Power(base, exponent))
        })
    }
}

/// A term's sign, and the term without it.
pub(super) fn without_sign(term: &Expr) -> (bool, Expr) {
    match term {
        Expr::Number(n) if *n < 0.0 => (true, Expr::Number(-n)),
        Expr::Product(factors) => match factors.first() {
            Some(Expr::Number(n)) if *n < 0.0 => {
                let mut rest = factors[1..].to_vec();
                if *n != -1.0 {
                    rest.insert(0, Expr::Number(-n));
                }
                match rest.len() {
                    0 => (true, Expr::Number(1.0)),
                    1 => (true, rest.remove(0)),
                    _ => (true, Expr::Product(rest)),
                }
            }
            _ => (false, term.clone()),
        },
        _ => (false, term.clone()),
    }
}
