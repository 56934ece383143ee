// Fields of a CSV text to numbers, dates and hashes of text. Strict: what is not written as the comments here say is
// refused and counted, and the host decides what it is.
//
// `ends` (rows * width,) has the place in `text` of each separator, so that a field lies between two of them. A field that
// begins with a quote ends with one; these two do not belong to it. An empty field is null: its value is 0 and `valid`
// false.

struct Field {
    const unsigned char* at;
    int64 size;
};

__device__ inline Field field_at(const unsigned char* text, const int64* ends, int64 index) {
    const int64 start = index == 0 ? 0 : ends[index - 1] + 1, end = ends[index];
    const bool carriage = text[end] == '\n' && end > start && text[end - 1] == '\r';
    const bool quoted = end - carriage > start && text[start] == '"';
    return {text + start + quoted, end - carriage - start - 2 * quoted};
}

template <typename Value, typename Parse>
__device__ inline void parse_fields(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, Value* values, bool* valid,
    uint64* refused, Parse parse) {
    REQUIRE(column >= 0 && column < width);
    FOR_EACH(row, rows) {
        const Field field = field_at(text, ends, row * width + column);
        Value value = 0;
        if (field.size > 0 && !parse(field, &value)) {
            value = 0;
            atomicAdd(refused, uint64(1));
        }
        values[row] = value;
        valid[row] = field.size > 0;
    }
}

// -123.45 as digits 12345 and exponent -2.
struct Number {
    uint64 digits;
    int64 exponent, size;  // `size`: characters read
    bool negative, point, whole_part;
};

constexpr int64 MOST_DIGITS = 19;  // so many always fit into 64 bits

// Read [-]digits[.digits], at least one digit in all.
__device__ inline bool read_number(Field field, Number* number) {
    Number read = {0, 0, 0, field.at[0] == '-', false, false};
    int64 significant = 0, digits = 0;
    for (read.size = read.negative; read.size < field.size; ++read.size) {
        const unsigned char letter = field.at[read.size];
        if (letter == '.' && !read.point) {
            read.point = true;
            read.whole_part = digits > 0;
            continue;
        }
        if (letter < '0' || letter > '9') break;
        ++digits;
        significant += significant > 0 || letter > '0';
        if (significant > MOST_DIGITS) return false;
        read.digits = 10 * read.digits + (letter - '0');
        read.exponent -= read.point;
    }
    *number = read;
    return digits > 0;
}

__device__ inline int64 with_sign(const Number& number) {
    return static_cast<int64>(number.negative ? 0 - number.digits : number.digits);
}

// [-]digits, from -limit - 1 to limit.
__device__ inline bool parse_integer(Field field, uint64 limit, int64* value) {
    Number number;
    if (!read_number(field, &number) || number.size < field.size || number.point) return false;
    *value = with_sign(number);
    return number.digits <= limit + number.negative;
}

// [-]digits[.digits], at most `scale` of them after the point; the value is a multiple of 10**-scale, at most `limit`.
__device__ inline bool parse_decimal(Field field, int64 scale, uint64 limit, int64* value) {
    Number number;
    if (!read_number(field, &number) || number.size < field.size) return false;
    if (number.point && (!number.whole_part || number.exponent == 0)) return false;
    for (int64 place = -number.exponent; place < scale; ++place) {
        if (number.digits > limit / 10) return false;
        number.digits *= 10;
    }
    *value = with_sign(number);
    return -number.exponent <= scale && number.digits <= limit;
}

// Powers of five from 5**LEAST_POWER on, 128 bits each, the high word first; the leading bit is set.
constexpr int64 LEAST_POWER = -342, MOST_POWER = 308;

// The nearest double of digits * 10**power, ties to even; false where it would be subnormal, infinite or is in doubt.
// Source: Lemire, Number Parsing at a Gigabyte per Second, Software: Practice and Experience 51(8), 2021,
// https://arxiv.org/abs/2101.11408
__device__ inline bool nearest_double(uint64 digits, int64 power, const uint64* powers, double* value) {
    if (digits == 0) {
        *value = 0;
        return true;
    }
    if (power < LEAST_POWER || power > MOST_POWER) return false;
    const int zeros = __clzll(static_cast<int64>(digits));
    const uint64 shifted = digits << zeros, *five = powers + 2 * (power - LEAST_POWER);
    uint64 high = __umul64hi(shifted, five[0]), low = shifted * five[0];
    if ((high & 0x1ff) == 0x1ff) {  // the low word of the power may still carry into the bits that count
        const uint64 carried = low + __umul64hi(shifted, five[1]);
        high += carried < low;
        low = carried;
        if (low == ~uint64(0)) return false;
    }
    const int upper = static_cast<int>(high >> 63);
    uint64 mantissa = high >> (upper + 9);
    const int64 exponent = ((217706 * power) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) return false;
    const bool may_be_half = low <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1;
    if (may_be_half && mantissa << (upper + 9) == high) mantissa &= ~uint64(1);
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    const bool carried = mantissa >> 53 != 0;
    if (exponent + carried >= 2047) return false;
    const uint64 fraction = carried ? 0 : mantissa & ((uint64(1) << 52) - 1);
    *value = __longlong_as_double(static_cast<int64>(static_cast<uint64>(exponent + carried) << 52 | fraction));
    return true;
}

// [-]digits[.digits][e[+-]digits]
__device__ inline bool parse_float(Field field, const uint64* powers, double* value) {
    Number number;
    if (!read_number(field, &number)) return false;
    int64 at = number.size, power = 0;
    if (at < field.size) {
        if ((field.at[at] | 32) != 'e') return false;
        ++at;
        const bool negative = at < field.size && field.at[at] == '-';
        at += negative || (at < field.size && field.at[at] == '+');
        if (at == field.size || field.size - at > 4) return false;
        for (; at < field.size; ++at) {
            if (field.at[at] < '0' || field.at[at] > '9') return false;
            power = 10 * power + (field.at[at] - '0');
        }
        if (negative) power = -power;
    }
    if (!nearest_double(number.digits, number.exponent + power, powers, value)) return false;
    if (number.negative) *value = -*value;
    return true;
}

__device__ inline bool is_word(Field field, const char* word) {
    int64 at = 0;
    for (; word[at] != 0; ++at) {
        if (at >= field.size || field.at[at] != word[at]) return false;
    }
    return at == field.size;
}

__device__ inline bool parse_truth(Field field, bool* value) {
    *value = is_word(field, "true") || is_word(field, "True") || is_word(field, "TRUE") || is_word(field, "1");
    return *value || is_word(field, "false") || is_word(field, "False") || is_word(field, "FALSE") || is_word(field, "0");
}

// Read `count` digits at a place; -1 if there are others or too few.
__device__ inline int digits_at(Field field, int64 at, int64 count) {
    int value = 0;
    if (at + count > field.size) return -1;
    for (int64 end = at + count; at < end; ++at) {
        if (field.at[at] < '0' || field.at[at] > '9') return -1;
        value = 10 * value + (field.at[at] - '0');
    }
    return value;
}

// The date YYYY-MM-DD at the start of a field, as days since 1970-01-01.
__device__ inline bool date_at_start(Field field, int* days) {
    const int year = digits_at(field, 0, 4), month = digits_at(field, 5, 2), day = digits_at(field, 8, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || field.at[4] != '-' || field.at[7] != '-') return false;
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    const int length = month == 2 ? 28 + leap : 30 + (month + month / 8) % 2;
    if (day > length) return false;
    // Years that begin in March end with the leap day, and their months have lengths of a fixed pattern.
    const int shifted = year - (month <= 2), of_march = (month + 9) % 12;
    *days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * of_march + 2) / 5 + day - 719469;
    return true;
}

__device__ inline bool parse_date(Field field, int* days) { return field.size == 10 && date_at_start(field, days); }

// YYYY-MM-DD, alone or with hh:mm, hh:mm:ss or hh:mm:ss.f of up to six digits behind a T or a space; microseconds.
__device__ inline bool parse_time(Field field, int64* value) {
    int days, hour = 0, minute = 0, second = 0, fraction = 0;
    if (!date_at_start(field, &days)) return false;
    if (field.size > 10) {
        hour = digits_at(field, 11, 2);
        minute = digits_at(field, 14, 2);
        if ((field.at[10] != 'T' && field.at[10] != ' ') || hour < 0 || minute < 0 || field.at[13] != ':') return false;
    }
    if (field.size > 16) {
        second = digits_at(field, 17, 2);
        if (second < 0 || field.at[16] != ':') return false;
    }
    if (field.size > 19) {
        const int64 digits = field.size - 20;
        if (field.at[19] != '.' || digits < 1 || digits > 6) return false;
        fraction = digits_at(field, 20, digits);
        if (fraction < 0) return false;
        for (int64 digit = digits; digit < 6; ++digit) fraction *= 10;
    }
    *value = ((days * int64(24) + hour) * 60 + minute) * 60000000 + second * int64(1000000) + fraction;
    return hour < 24 && minute < 60 && second < 60;
}

extern "C" __global__ void csv_integers(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, int64* values, bool* valid,
    uint64* refused, int64 limit) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, [=](Field field, int64* value) {
        return parse_integer(field, static_cast<uint64>(limit), value);
    });
}

extern "C" __global__ void csv_decimals(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, int64* values, bool* valid,
    uint64* refused, int64 scale, int64 limit) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, [=](Field field, int64* value) {
        return parse_decimal(field, scale, static_cast<uint64>(limit), value);
    });
}

extern "C" __global__ void csv_floats(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, double* values, bool* valid,
    uint64* refused, const uint64* powers) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, [=](Field field, double* value) {
        return parse_float(field, powers, value);
    });
}

extern "C" __global__ void csv_truths(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, bool* values, bool* valid,
    uint64* refused) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, parse_truth);
}

extern "C" __global__ void csv_dates(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, int* values, bool* valid,
    uint64* refused) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, parse_date);
}

extern "C" __global__ void csv_times(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, int64* values, bool* valid,
    uint64* refused) {
    parse_fields(text, ends, rows, width, column, values, valid, refused, parse_time);
}

// hashes (rows,): texts that are equal have equal ones. FNV-1a, mixed once more.
extern "C" __global__ void csv_hashes(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, int64* hashes) {
    FOR_EACH(row, rows) {
        const Field field = field_at(text, ends, row * width + column);
        uint64 hash = 0xcbf29ce484222325ULL;
        for (int64 at = 0; at < field.size; ++at) hash = (hash ^ field.at[at]) * 0x100000001b3ULL;
        hashes[row] = static_cast<int64>(hash ^ (hash >> 32));
    }
}

// Refuse rows whose text is not that of row first_of[place_of[row]]: two texts had one hash.
extern "C" __global__ void csv_compare(
    const unsigned char* text, const int64* ends, int64 rows, int64 width, int64 column, const int* place_of,
    const int64* first_of, uint64* refused) {
    FOR_EACH(row, rows) {
        const Field field = field_at(text, ends, row * width + column);
        const Field first = field_at(text, ends, first_of[place_of[row]] * width + column);
        bool same = field.size == first.size;
        for (int64 at = 0; same && at < field.size; ++at) same = field.at[at] == first.at[at];
        if (!same) atomicAdd(refused, uint64(1));
    }
}
