// Functions that are the same for every vector width.
namespace eamfmeg {
namespace EAMFMEG_ISA {

// e^x within 2 ulp; 0 below -86.99, infinity above 88.73, NaN stays NaN. x = n ln 2 + r with |r| <= ln 2 / 2; the
// polynomial is the Taylor series to r^7, whose remainder is below 2^-27 there. It is doubled and the power halved: 2^128
// is no float, but the largest numbers are less than 2^128.
inline Vf exp(Vf x) {
    // A NaN is the second operand of each: those come through.
    x = min(set(89.0f), max(set(-104.0f), x));
    const Vf n = round(x * set(1.44269504088896341f));
    Vf r = fma(n, set(-0.693359375f), x);
    r = fma(n, set(2.12194440e-4f), r);
    Vf p = set(1.0f / 5040.0f);
    p = fma(p, r, set(1.0f / 720.0f));
    p = fma(p, r, set(1.0f / 120.0f));
    p = fma(p, r, set(1.0f / 24.0f));
    p = fma(p, r, set(1.0f / 6.0f));
    p = fma(p, r, set(0.5f));
    const Vf twice = r + r;
    p = fma(p * r, twice, twice) + set(2.0f);
    return p * power_of_two(n - set(1.0f));
}

inline Vf sigmoid(Vf x) {
    return set(1.0f) / (set(1.0f) + exp(set(0.0f) - x));
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
