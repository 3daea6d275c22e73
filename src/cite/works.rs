//! The works themselves.

/// A work that a method comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Anderson1982,
    Biroli2024,
    Burley2020,
    Cao2025,
    Chen2025,
    Dormand1980,
    Hastie2022,
    Hirono2024,
    Jacot2018,
    Karras2022,
    Kingma2015,
    Lee2018,
    Lipman2023,
    Martin1973,
    Rahimi2007,
    Scarvelis2023,
    SongDdim2021,
    SongScore2021,
    Vastola2025,
    Vincent2011,
    Vkernel,
    WangRmt2026,
    WangSubspaces2024,
    WangVastola2024,
}

impl Work {
    /// Its BibTeX entry.
    pub fn entry(self) -> &'static str {
        match self {
            Self::Anderson1982 => {
                r"@article{anderson1982,
  author = {Anderson, Brian D. O.},
  title = {Reverse-time diffusion equation models},
  journal = {Stochastic Processes and their Applications},
  volume = {12},
  pages = {313--326},
  year = {1982}
}"
            }
            Self::Biroli2024 => {
                r"@misc{biroli2024,
  author = {Biroli, Giulio and Bonnaire, Tony and de Bortoli, Valentin and M{\'e}zard, Marc},
  title = {Dynamical regimes of diffusion models},
  year = {2024},
  eprint = {2402.18491},
  archiveprefix = {arXiv}
}"
            }
            Self::Burley2020 => {
                r"@article{burley2020,
  author = {Burley, Brent},
  title = {Practical Hash-based {Owen} Scrambling},
  journal = {Journal of Computer Graphics Techniques},
  volume = {9},
  year = {2020}
}"
            }
            Self::Cao2025 => {
                r"@misc{cao2025,
  author = {Cao, Fei and Johnston, Kimball and Laurent, Thomas and Le, Justin and Motsch, S{\'e}bastien},
  title = {Generative diffusion models from a {PDE} perspective},
  year = {2025},
  eprint = {2501.17054},
  archiveprefix = {arXiv}
}"
            }
            Self::Chen2025 => {
                r"@misc{chen2025,
  author = {Chen, Zhengdao},
  title = {On the Interpolation Effect of Score Smoothing in Diffusion Models},
  year = {2025},
  eprint = {2502.19499},
  archiveprefix = {arXiv}
}"
            }
            Self::Dormand1980 => {
                r"@article{dormand1980,
  author = {Dormand, J. R. and Prince, P. J.},
  title = {A family of embedded {Runge--Kutta} formulae},
  journal = {Journal of Computational and Applied Mathematics},
  volume = {6},
  pages = {19--26},
  year = {1980}
}"
            }
            Self::Hastie2022 => {
                r"@article{hastie2022,
  author = {Hastie, Trevor and Montanari, Andrea and Rosset, Saharon and Tibshirani, Ryan J.},
  title = {Surprises in high-dimensional ridgeless least squares interpolation},
  journal = {The Annals of Statistics},
  volume = {50},
  year = {2022},
  eprint = {1903.08560},
  archiveprefix = {arXiv}
}"
            }
            Self::Hirono2024 => {
                r"@inproceedings{hirono2024,
  author = {Hirono, Yuji and Tanaka, Akinori and Fukushima, Kenji},
  title = {Understanding Diffusion Models by {Feynman's} Path Integral},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2403.11262},
  archiveprefix = {arXiv}
}"
            }
            Self::Jacot2018 => {
                r"@inproceedings{jacot2018,
  author = {Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\'e}ment},
  title = {Neural Tangent Kernel: Convergence and Generalization in Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"
            }
            Self::Karras2022 => {
                r"@inproceedings{karras2022,
  author = {Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli},
  title = {Elucidating the Design Space of Diffusion-Based Generative Models},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
  eprint = {2206.00364},
  archiveprefix = {arXiv}
}"
            }
            Self::Kingma2015 => {
                r"@inproceedings{kingma2015,
  author = {Kingma, Diederik P. and Ba, Jimmy},
  title = {Adam: A Method for Stochastic Optimization},
  booktitle = {International Conference on Learning Representations},
  year = {2015}
}"
            }
            Self::Lee2018 => {
                r"@inproceedings{lee2018,
  author = {Lee, Jaehoon and Bahri, Yasaman and Novak, Roman and Schoenholz, Samuel S. and Pennington, Jeffrey and Sohl-Dickstein, Jascha},
  title = {Deep Neural Networks as {Gaussian} Processes},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"
            }
            Self::Lipman2023 => {
                r"@inproceedings{lipman2023,
  author = {Lipman, Yaron and Chen, Ricky T. Q. and Ben-Hamu, Heli and Nickel, Maximilian and Le, Matt},
  title = {Flow Matching for Generative Modeling},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"
            }
            Self::Martin1973 => {
                r"@article{martin1973,
  author = {Martin, P. C. and Siggia, E. D. and Rose, H. A.},
  title = {Statistical Dynamics of Classical Systems},
  journal = {Physical Review A},
  volume = {8},
  pages = {423--437},
  year = {1973}
}"
            }
            Self::Rahimi2007 => {
                r"@inproceedings{rahimi2007,
  author = {Rahimi, Ali and Recht, Benjamin},
  title = {Random Features for Large-Scale Kernel Machines},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2007}
}"
            }
            Self::Scarvelis2023 => {
                r"@misc{scarvelis2023,
  author = {Scarvelis, Christopher and S{\'a}ez de Oc{\'a}riz Borde, Haitz and Solomon, Justin},
  title = {Closed-Form Diffusion Models},
  year = {2023},
  eprint = {2310.12395},
  archiveprefix = {arXiv}
}"
            }
            Self::SongDdim2021 => {
                r"@inproceedings{songddim2021,
  author = {Song, Jiaming and Meng, Chenlin and Ermon, Stefano},
  title = {Denoising Diffusion Implicit Models},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2010.02502},
  archiveprefix = {arXiv}
}"
            }
            Self::SongScore2021 => {
                r"@inproceedings{songscore2021,
  author = {Song, Yang and Sohl-Dickstein, Jascha and Kingma, Diederik P. and Kumar, Abhishek and Ermon, Stefano and Poole, Ben},
  title = {Score-Based Generative Modeling through Stochastic Differential Equations},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2011.13456},
  archiveprefix = {arXiv}
}"
            }
            Self::Vastola2025 => {
                r"@inproceedings{vastola2025,
  author = {Vastola, John J.},
  title = {Generalization through variance: how noise shapes inductive biases in diffusion models},
  booktitle = {International Conference on Learning Representations},
  year = {2025},
  eprint = {2504.12532},
  archiveprefix = {arXiv}
}"
            }
            Self::Vincent2011 => {
                r"@article{vincent2011,
  author = {Vincent, Pascal},
  title = {A Connection Between Score Matching and Denoising Autoencoders},
  journal = {Neural Computation},
  volume = {23},
  pages = {1661--1674},
  year = {2011}
}"
            }
            Self::Vkernel => {
                concat!(
                    "@software{vkernel,\n  author = {{The vkernel authors}},\n  title = {vkernel: what a diffusion model will typically learn},\n  version = {",
                    env!("CARGO_PKG_VERSION"),
                    "},\n  year = {2026}\n}"
                )
            }
            Self::WangRmt2026 => {
                r"@misc{wangrmt2026,
  author = {Wang, Binxu and Zavatone-Veth, Jacob and Pehlevan, Cengiz},
  title = {A Random Matrix Theory Perspective on the Consistency of Diffusion Models},
  year = {2026},
  eprint = {2602.02908},
  archiveprefix = {arXiv}
}"
            }
            Self::WangSubspaces2024 => {
                r"@misc{wangsubspaces2024,
  author = {Wang, Peng and Zhang, Huijie and Zhang, Zekai and Chen, Siyi and Ma, Yi and Qu, Qing},
  title = {Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering},
  year = {2024},
  eprint = {2409.02426},
  archiveprefix = {arXiv}
}"
            }
            Self::WangVastola2024 => {
                r"@misc{wangvastola2024,
  author = {Wang, Binxu and Vastola, John J.},
  title = {The Unreasonable Effectiveness of {Gaussian} Score Approximation for Diffusion Models and its Applications},
  year = {2024},
  eprint = {2412.09726},
  archiveprefix = {arXiv}
}"
            }
        }
    }
}
