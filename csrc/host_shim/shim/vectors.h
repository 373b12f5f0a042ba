// CUDA's small vectors, dim3 and the built-in indices.
#pragma once

#define EAMFMEG_SHIM_VECTORS(T, name, align2, align4)   \
    struct alignas(align2) name##2 {                    \
        T x, y;                                         \
    };                                                  \
    struct name##3 {                                    \
        T x, y, z;                                      \
    };                                                  \
    struct alignas(align4) name##4 {                    \
        T x, y, z, w;                                   \
    };                                                  \
    inline name##2 make_##name##2(T x, T y) {           \
        return name##2 {x, y};                          \
    }                                                   \
    inline name##3 make_##name##3(T x, T y, T z) {      \
        return name##3 {x, y, z};                       \
    }                                                   \
    inline name##4 make_##name##4(T x, T y, T z, T w) { \
        return name##4 {x, y, z, w};                    \
    }

EAMFMEG_SHIM_VECTORS(signed char, char, 2, 4)
EAMFMEG_SHIM_VECTORS(unsigned char, uchar, 2, 4)
EAMFMEG_SHIM_VECTORS(short, short, 4, 8)
EAMFMEG_SHIM_VECTORS(unsigned short, ushort, 4, 8)
EAMFMEG_SHIM_VECTORS(int, int, 8, 16)
EAMFMEG_SHIM_VECTORS(unsigned, uint, 8, 16)
EAMFMEG_SHIM_VECTORS(float, float, 8, 16)
EAMFMEG_SHIM_VECTORS(double, double, 16, 16)
EAMFMEG_SHIM_VECTORS(long long, longlong, 16, 16)
#undef EAMFMEG_SHIM_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return uint3{x, y, z}; }
};

// Those of the thread that is running now; the scheduler changes them whenever it switches.
__attribute__((visibility("hidden"))) inline uint3 threadIdx{};
__attribute__((visibility("hidden"))) inline uint3 blockIdx{};
__attribute__((visibility("hidden"))) inline dim3 blockDim{};
__attribute__((visibility("hidden"))) inline dim3 gridDim{};
constexpr int warpSize = 32;
