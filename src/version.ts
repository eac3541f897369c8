/** Version of this software, as the package has it. */
export const VERSION = '0.1.0';
